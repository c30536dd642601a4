//! Where panels stand: one after the other, a new row when the next does not fit.

use serde_json::{Value, json};

/// Columns of a dashboard.
const COLUMNS: u32 = 24;

/// The row that is being filled.
#[derive(Debug, Default)]
pub(super) struct Grid {
    x: u32,
    y: u32,
    height: u32,
}

impl Grid {
    /// The place of the next panel, of this width and height.
    pub(super) fn place(&mut self, [width, height]: [u32; 2]) -> Value {
        if self.x + width > COLUMNS {
            self.y += self.height;
            self.x = 0;
            self.height = 0;
        }
        let place = json!({ "x": self.x, "y": self.y, "w": width, "h": height });
        self.x += width;
        self.height = self.height.max(height);
        place
    }
}
