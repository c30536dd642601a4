//! Places panels from left to right and starts a new row when the next panel does not fit.

use serde_json::{Value, json};

/// Width of a Grafana dashboard in columns.
const COLUMNS: u32 = 24;

/// The position after the last panel.
#[derive(Debug, Default)]
pub(super) struct Grid {
    x: u32,
    y: u32,
    height: u32,
}

impl Grid {
    /// Reserves a position for a panel of this width and height.
    pub(super) fn position(&mut self, [width, height]: [u32; 2]) -> Value {
        if self.x + width > COLUMNS {
            self.y += self.height;
            self.x = 0;
            self.height = 0;
        }
        let position = json!({ "x": self.x, "y": self.y, "w": width, "h": height });
        self.x += width;
        self.height = self.height.max(height);
        position
    }
}
