//! The front of the encoder for recordings: two convolutions over frames and bins, each of stride 2, and a linear layer.
//!
//! Its packed form, which runs each recording by itself, is beside it.

use tch::{Device, Kind, Tensor};

use super::layers::{ForwardContext, Linear};
use super::packed_linear::{PackedLinear, Weights};
use super::params::VarBuilder;
use crate::data::batch::SourceBatch;
use crate::data::source::{Frames, subsampled};

/// Rows and columns of a convolution's kernel, its stride and its padding.
const KERNEL: i64 = 3;
const STRIDE: i64 = 2;
const PADDING: i64 = 1;

/// Conv2d, ReLU, Conv2d, ReLU, Linear (as WeNet's `Conv2dSubsampling4`, with zero padding): four frames become one position.
#[derive(Debug)]
pub(crate) struct ConvolutionFront {
    /// (C, 9) and (C, 9 C): the kernels (C, inputs, 3, 3) as matrices.
    convolutions: [Linear; 2],
    /// (D, F'' C), where F'' is a quarter of the bins.
    output: Linear,
    channels: i64,
    bins: i64,
}

impl ConvolutionFront {
    /// For frames of `bins` numbers.
    pub(crate) fn new(mut vb: VarBuilder, bins: usize, channels: usize, width: usize) -> ConvolutionFront {
        let (bins, channels) = (bins as i64, channels as i64);
        let mut convolutions = vb.sub("convolutions");
        let mut convolution = |n: usize, inputs: i64| {
            Linear::new(convolutions.sub(n), KERNEL * KERNEL * inputs, channels, true)
        };
        let convolutions = [convolution(0, 1), convolution(1, channels)];
        let inputs = subsampled(bins as usize) as i64 * channels;
        let output = Linear::new(vb.sub("output"), inputs, width as i64, true);
        ConvolutionFront { convolutions, output, channels, bins }
    }

    /// Numbers of a frame (F).
    pub(crate) fn bins(&self) -> usize {
        self.bins as usize
    }

    /// The linear layer, which is cast with the others.
    pub(super) fn groups(&self) -> Vec<Vec<&Linear>> {
        vec![vec![&self.output]]
    }

    /// Multiplications for each position that it makes.
    pub(crate) fn multiplications(&self) -> f64 {
        let (kernel, channels) = ((KERNEL * KERNEL) as f64, self.channels as f64);
        let half = (self.bins as usize).div_ceil(2) as f64;
        let quarter = subsampled(self.bins as usize) as f64;
        let width = self.output.weight().size()[0] as f64;
        2.0 * half * kernel * channels + quarter * kernel * channels * channels + quarter * channels * width
    }

    /// Frames to positions. What lies behind a row's end is zero before each convolution, so padding changes no row.
    ///
    /// # Shapes
    /// source: (B, S, F) to (B, S'', D), where S'' is a quarter of S
    pub(crate) fn forward(&self, source: &SourceBatch, ctx: ForwardContext) -> Tensor {
        let [first, second] = &self.convolutions;
        let mut x = self.convolve(first, &source.values.unsqueeze(1)); // (B, C, S', F')
        let x = x.g_mul_(&real_rows(source)).relu_();
        let x = self.convolve(second, &x).relu_(); // (B, C, S'', F'')
        let x = x.permute([0, 2, 3, 1]).flatten(2, 3); // (B, S'', F'' C)
        self.output.forward_in(&x, ctx).to_kind(Kind::Float)
    }

    fn convolve(&self, layer: &Linear, x: &Tensor) -> Tensor {
        let kernel = layer.weight().view([self.channels, -1, KERNEL, KERNEL]);
        // In memory the channels come last: the fastest layout, and the one that the linear layer reads.
        let kernel = kernel.permute([0, 2, 3, 1]).contiguous().permute([0, 3, 1, 2]);
        x.conv2d(&kernel, layer.bias(), [STRIDE; 2], [PADDING; 2], [1i64; 2], 1)
    }
}

/// One where a position of the first convolution lies within its row, zero behind: (B, 1, S', 1)
fn real_rows(source: &SourceBatch) -> Tensor {
    let device = source.values.device();
    let ends: Vec<i64> = source.lengths.iter().map(|&length| halved(length)).collect();
    let ends = Tensor::from_slice(&ends).to_device(device).view([-1, 1, 1, 1]);
    let longest = halved(source.values.size()[1]);
    let places = Tensor::arange(longest, (Kind::Int64, device)).view([1, 1, -1, 1]);
    places.lt_tensor(&ends).to_kind(Kind::Float)
}

/// The front as a decoder runs it.
#[derive(Clone, Debug)]
pub(crate) struct PackedFront {
    convolutions: [PackedLinear; 2],
    output: PackedLinear,
    channels: i64,
    device: Device,
}

impl PackedFront {
    /// Casts and packs what the front has learned.
    pub(crate) fn new(front: &ConvolutionFront, weights: Weights) -> PackedFront {
        let _guard = tch::no_grad_guard();
        let convolution = |layer: &Linear| {
            let kernel = layer.weight().view([front.channels, -1, KERNEL, KERNEL]);
            let matrix = kernel.permute([0, 2, 3, 1]).flatten(1, 3); // (C, 9 inputs), the inputs of a place together
            PackedLinear::of(&matrix, layer.bias().map(Tensor::copy).as_ref(), weights)
        };
        PackedFront {
            convolutions: front.convolutions.each_ref().map(convolution),
            output: PackedLinear::new(&[&front.output], weights),
            channels: front.channels,
            device: front.output.weight().device(),
        }
    }

    /// The positions of recordings, one after the other. A recording's numbers do not depend on the others.
    ///
    /// # Shapes
    /// frames: (T, F) each; out: (N, D)
    pub(crate) fn forward(&self, recordings: &[&Frames]) -> Tensor {
        let rows: Vec<Tensor> = recordings.iter().map(|frames| self.of_one(frames)).collect();
        self.output.forward(&Tensor::cat(&rows, 0), false, None)
    }

    /// (T, F) to (T'', F'' C)
    fn of_one(&self, frames: &Frames) -> Tensor {
        let (count, bins) = (frames.count() as i64, frames.bins() as i64);
        let patches = Tensor::from_slice(&patches_of(frames)).to_device(self.device); // (T' F' 9)
        let x = self.convolve(&self.convolutions[0], &patches, halved(count), halved(bins)); // (T', F', C)
        let padded = x.constant_pad_nd([0, 0, PADDING, PADDING, PADDING, PADDING]);
        let (height, width, channels) = x.size3().expect("a picture has three dimensions");
        let (rows, columns) = (halved(height), halved(width));
        let row = (width + 2 * PADDING) * channels;
        // A row of a patch is one piece of memory, which is copied faster than by `im2col`.
        let sizes = [rows, columns, KERNEL, KERNEL * channels];
        let patches = padded.as_strided(sizes, [STRIDE * row, STRIDE * channels, row, 1], 0);
        self.convolve(&self.convolutions[1], &patches, rows, columns).flatten(1, 2)
    }

    /// One product over the patches of a picture, 9 times its inputs for each place of the result: (T', F', C)
    fn convolve(&self, layer: &PackedLinear, patches: &Tensor, rows: i64, columns: i64) -> Tensor {
        let patches = patches.reshape([rows * columns, -1]);
        layer.forward(&patches, true, None).view([rows, columns, self.channels])
    }
}

/// The size of a picture after a convolution.
fn halved(size: i64) -> i64 {
    (size + 2 * PADDING - KERNEL + STRIDE) / STRIDE
}

/// The patches of frames, row by row: (T' F' 9). They are so small that a loop is faster than strided copies.
fn patches_of(frames: &Frames) -> Vec<f32> {
    let (count, bins) = (frames.count(), frames.bins());
    let [kernel, stride, padding] = [KERNEL, STRIDE, PADDING].map(|size| size as usize);
    let width = bins + 2 * padding;
    let mut padded = vec![0.0; (count + 2 * padding) * width];
    for (to, from) in padded.chunks_exact_mut(width).skip(padding).zip(frames.data().chunks_exact(bins)) {
        to[padding..padding + bins].copy_from_slice(from);
    }
    let starts = |size: usize| (0..halved(size as i64) as usize).map(move |n| n * stride);
    let mut patches = Vec::with_capacity(starts(count).len() * starts(bins).len() * kernel * kernel);
    for row in starts(count) {
        for column in starts(bins) {
            for at in row..row + kernel {
                patches.extend_from_slice(&padded[at * width + column..][..kernel]);
            }
        }
    }
    patches
}
