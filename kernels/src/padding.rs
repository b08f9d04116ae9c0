//! Padding around an image.

/// How many pixels of padding an image has on each side; what they hold, the operation says.
///
/// ```
/// use candle_convnet::Padding;
///
/// let behind = Padding { bottom: 1, right: 1, ..Padding::NONE };
/// assert!(!behind.is_even());
/// assert_eq!(Padding::even(1, 2), Padding::from((1, 2)));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Padding {
    /// Rows above the image.
    pub top: usize,
    /// Columns to the left of it.
    pub left: usize,
    /// Rows below it.
    pub bottom: usize,
    /// Columns to the right of it.
    pub right: usize,
}

impl Padding {
    /// No padding.
    pub const NONE: Self = Self::even(0, 0);

    /// As many rows above as below, as many columns to the left as to the right.
    pub const fn even(height: usize, width: usize) -> Self {
        Self { top: height, left: width, bottom: height, right: width }
    }

    /// Whether opposite sides are equal.
    pub fn is_even(self) -> bool {
        self.top == self.bottom && self.left == self.right
    }

    /// Along the height: above and below.
    pub fn vertical(self) -> (usize, usize) {
        (self.top, self.bottom)
    }

    /// Along the width: to the left and to the right.
    pub fn horizontal(self) -> (usize, usize) {
        (self.left, self.right)
    }
}

impl From<(usize, usize)> for Padding {
    /// [`Padding::even`] of (height, width).
    fn from((height, width): (usize, usize)) -> Self {
        Self::even(height, width)
    }
}
