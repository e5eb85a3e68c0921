//! A group of processes: the store where they meet, and their collectives (c10d's TCPStore and Gloo, NCCL on GPUs).
//!
//! All ranks must call the same collectives in the same order.

use std::ffi::{CString, c_char, c_int, c_void};
use std::net::TcpListener;
use std::os::fd::IntoRawFd;
use std::time::Duration;

use tch::{Kind, Tensor};
use torch_sys::C_tensor;

use super::last_error;

/// The text of a C++ exception, or of a name that C++ cannot take.
pub(crate) type Outcome<T> = std::result::Result<T, String>;

unsafe extern "C" {
    fn seqloom_meeting_open(
        out: *mut *mut c_void,
        host: *const c_char,
        port: i64,
        socket: i64,
        prefix: *const c_char,
        milliseconds: i64,
    ) -> c_int;
    fn seqloom_meeting_close(meeting: *mut c_void);
    fn seqloom_meeting_set(meeting: *mut c_void, key: *const c_char, bytes: *const u8, count: i64) -> c_int;
    fn seqloom_meeting_add(meeting: *mut c_void, key: *const c_char, value: *mut i64) -> c_int;
    fn seqloom_meeting_has(meeting: *mut c_void, key: *const c_char, out: *mut bool) -> c_int;
    fn seqloom_meeting_get(meeting: *mut c_void, key: *const c_char, out: *mut *mut C_tensor) -> c_int;
    fn seqloom_group_open(
        out: *mut *mut c_void,
        meeting: *mut c_void,
        rank: i64,
        ranks: i64,
        address: *const c_char,
        milliseconds: i64,
    ) -> c_int;
    fn seqloom_group_close(group: *mut c_void);
    fn seqloom_group_limit(group: *mut c_void, milliseconds: i64);
    fn seqloom_nccl_id(id: *mut u8) -> c_int;
    fn seqloom_group_use_nccl(
        group: *mut c_void,
        device: i64,
        rank: i64,
        id: *const u8,
        milliseconds: i64,
    ) -> c_int;
    fn seqloom_group_sum(
        group: *mut c_void,
        flat: *mut C_tensor,
        own: *mut C_tensor,
        out: *mut *mut C_tensor,
    ) -> c_int;
    fn seqloom_group_gather(group: *mut c_void, own: *mut C_tensor, out: *mut *mut C_tensor) -> c_int;
    fn seqloom_group_broadcast(group: *mut c_void, bytes: *mut C_tensor) -> c_int;
}

/// The bytes of NCCL's id of a group.
pub(crate) const NCCL_ID: usize = 128;

/// A key-value store that all ranks reach.
pub(crate) struct Meeting {
    handle: *mut c_void,
}

// SAFETY: c10d's store locks itself, and nothing in it belongs to a thread.
unsafe impl Send for Meeting {}

impl Meeting {
    /// Joins the store at `host`:`port`, and serves it if there is a listening `socket`. Keys begin with `prefix`; each
    /// call waits up to `limit`.
    pub(crate) fn open(
        (host, port): (&str, u16),
        socket: Option<TcpListener>,
        prefix: &str,
        limit: Duration,
    ) -> Outcome<Meeting> {
        let (host, prefix) = (text(host)?, text(prefix)?);
        // C++ closes it.
        let socket = socket.map_or(-1, |socket| i64::from(socket.into_raw_fd()));
        let mut handle = std::ptr::null_mut();
        // SAFETY: texts that live through the call, and a socket that is given away; on success `handle` is ours.
        let status = unsafe {
            let port = i64::from(port);
            seqloom_meeting_open(
                &mut handle,
                host.as_ptr(),
                port,
                socket,
                prefix.as_ptr(),
                milliseconds(limit),
            )
        };
        done(status).map(|()| Meeting { handle })
    }

    /// Sets a value.
    pub(crate) fn set(&self, key: &str, value: &[u8]) -> Outcome<()> {
        let key = text(key)?;
        // SAFETY: a live store, a text and bytes that live through the call.
        done(unsafe { seqloom_meeting_set(self.handle, key.as_ptr(), value.as_ptr(), value.len() as i64) })
    }

    /// Adds to a number, 0 at first; returns the sum.
    pub(crate) fn add(&self, key: &str, more: i64) -> Outcome<i64> {
        let (key, mut value) = (text(key)?, more);
        // SAFETY: a live store, and a text and a number that live through the call.
        done(unsafe { seqloom_meeting_add(self.handle, key.as_ptr(), &mut value) })?;
        Ok(value)
    }

    /// The value of a key, if it is set.
    pub(crate) fn get(&self, key: &str) -> Outcome<Option<Vec<u8>>> {
        let (key, mut there, mut out) = (text(key)?, false, std::ptr::null_mut());
        // SAFETY: a live store, and a text and a flag that live through the call.
        done(unsafe { seqloom_meeting_has(self.handle, key.as_ptr(), &mut there) })?;
        if !there {
            return Ok(None);
        }
        // SAFETY: as before; on success `out` is a new tensor that we own.
        done(unsafe { seqloom_meeting_get(self.handle, key.as_ptr(), &mut out) })?;
        // SAFETY: the call succeeded, so we own `out`.
        bytes_of(&unsafe { Tensor::from_ptr(out) }).map(Some)
    }
}

impl Drop for Meeting {
    fn drop(&mut self) {
        // SAFETY: made by `seqloom_meeting_open`, and closed once.
        unsafe { seqloom_meeting_close(self.handle) }
    }
}

/// The connections of a rank with all others.
pub(crate) struct Collectives {
    handle: *mut c_void,
    ranks: usize,
}

// SAFETY: c10d's process group may be used from any thread, by one at a time.
unsafe impl Send for Collectives {}

impl Collectives {
    /// Connects a rank with the others, who reach it at the IP address `address`. A collective fails after `limit`.
    pub(crate) fn open(
        meeting: &Meeting,
        (rank, ranks): (usize, usize),
        address: &str,
        limit: Duration,
    ) -> Outcome<Collectives> {
        let (address, mut handle) = (text(address)?, std::ptr::null_mut());
        let (rank, count) = (rank as i64, ranks as i64);
        // SAFETY: a live store, which the group keeps alive; on success `handle` is ours.
        let status = unsafe {
            let (meeting, limit) = (meeting.handle, milliseconds(limit));
            seqloom_group_open(&mut handle, meeting, rank, count, address.as_ptr(), limit)
        };
        done(status).map(|()| Collectives { handle, ranks })
    }

    /// From here on a collective fails after `limit`.
    pub(crate) fn set_limit(&self, limit: Duration) {
        // SAFETY: a live group.
        unsafe { seqloom_group_limit(self.handle, milliseconds(limit)) }
    }

    /// From here on sums of tensors on the GPU `device` are NCCL's.
    pub(crate) fn use_nccl(
        &self,
        device: usize,
        rank: usize,
        id: &[u8; NCCL_ID],
        limit: Duration,
    ) -> Outcome<()> {
        let (device, rank) = (device as i64, rank as i64);
        // SAFETY: a live group, and an id that lives through the call.
        done(unsafe { seqloom_group_use_nccl(self.handle, device, rank, id.as_ptr(), milliseconds(limit)) })
    }

    /// Replaces the floats of all ranks by their sum, added along a binary tree over the ranks; gathers a message, too.
    ///
    /// # Shapes
    /// flat: (N) f32, contiguous, N a multiple of the number of ranks
    pub(crate) fn sum(&self, flat: &Tensor, message: &[u8]) -> Outcome<Vec<Vec<u8>>> {
        let (mut own, mut out) = (Tensor::from_slice(message), std::ptr::null_mut());
        let flat = flat.as_ptr().cast_mut();
        // SAFETY: a live group, a live tensor that is changed in place, and one that is read; on success `out` is a new
        // tensor that we own.
        done(unsafe { seqloom_group_sum(self.handle, flat, own.as_mut_ptr(), &mut out) })?;
        // SAFETY: the call succeeded, so we own `out`.
        self.by_rank(&unsafe { Tensor::from_ptr(out) })
    }

    /// The bytes of each rank; all must give as many.
    pub(crate) fn gather(&self, own: &[u8]) -> Outcome<Vec<Vec<u8>>> {
        let (mut own, mut out) = (Tensor::from_slice(own), std::ptr::null_mut());
        // SAFETY: a live group and a live tensor; on success `out` is a new tensor that we own.
        done(unsafe { seqloom_group_gather(self.handle, own.as_mut_ptr(), &mut out) })?;
        // SAFETY: the call succeeded, so we own `out`.
        self.by_rank(&unsafe { Tensor::from_ptr(out) })
    }

    fn by_rank(&self, gathered: &Tensor) -> Outcome<Vec<Vec<u8>>> {
        let all = bytes_of(gathered)?;
        let each = all.len() / self.ranks;
        Ok((0..self.ranks).map(|rank| all[rank * each..(rank + 1) * each].to_vec()).collect())
    }

    /// Replaces bytes by those of rank 0, as many.
    pub(crate) fn broadcast(&self, bytes: &mut Vec<u8>) -> Outcome<()> {
        let mut tensor = Tensor::from_slice(bytes);
        // SAFETY: a live group, and a live tensor that is changed in place.
        done(unsafe { seqloom_group_broadcast(self.handle, tensor.as_mut_ptr()) })?;
        *bytes = bytes_of(&tensor)?;
        Ok(())
    }
}

impl Drop for Collectives {
    fn drop(&mut self) {
        // SAFETY: made by `seqloom_group_open`, and closed once.
        unsafe { seqloom_group_close(self.handle) }
    }
}

/// A new id for a group whose ranks sum on GPUs.
pub(crate) fn nccl_id() -> Outcome<[u8; NCCL_ID]> {
    let mut id = [0; NCCL_ID];
    // SAFETY: room for an id.
    done(unsafe { seqloom_nccl_id(id.as_mut_ptr()) })?;
    Ok(id)
}

fn done(status: c_int) -> Outcome<()> {
    if status == 0 { Ok(()) } else { Err(last_error()) }
}

fn text(text: &str) -> Outcome<CString> {
    CString::new(text).map_err(|error| error.to_string())
}

fn milliseconds(limit: Duration) -> i64 {
    limit.as_millis().max(1) as i64
}

fn bytes_of(tensor: &Tensor) -> Outcome<Vec<u8>> {
    debug_assert_eq!(tensor.kind(), Kind::Uint8);
    Vec::try_from(tensor.reshape([-1])).map_err(|error: tch::TchError| error.to_string())
}
