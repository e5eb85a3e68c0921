//! Rows with bytes that are not UTF-8: read with U+FFFD in their place, on request.

use super::{Layout, RowReader};

impl RowReader {
    /// The same reader, in whose rows U+FFFD takes the place of bytes that are not UTF-8. Otherwise they are an error.
    pub(crate) fn replacing_invalid(mut self) -> RowReader {
        self.lines.replace_invalid();
        if let Layout::Parallel(targets) = &mut self.layout {
            targets.replace_invalid();
        }
        self
    }

    /// Whether bytes were replaced since the last call, which is then the last row.
    pub(crate) fn was_replaced(&mut self) -> bool {
        let in_target = match &mut self.layout {
            Layout::Parallel(targets) => targets.was_replaced(),
            _ => false,
        };
        self.lines.was_replaced() || in_target
    }
}
