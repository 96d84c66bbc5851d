/// A picture and its depth, row by row from the top.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Image {
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// `[height, width, 3]`, sRGB.
    pub rgb: Vec<u8>,
    /// `[height, width]`, metres along the optical axis; the camera's far plane where nothing is hit.
    pub depth_m: Vec<f32>,
}

impl Image {
    /// A black picture.
    pub fn new(width: usize, height: usize) -> Self {
        let mut image = Self::default();
        image.resize(width, height);
        image
    }

    /// Takes on another size; the content is undefined until it is rendered. Allocates only to grow.
    pub fn resize(&mut self, width: usize, height: usize) {
        (self.width, self.height) = (width, height);
        self.rgb.resize(3 * width * height, 0);
        self.depth_m.resize(width * height, 0.0);
    }

    /// Colour in `row`, `column`, if there is such a pixel.
    pub fn rgb_at(&self, row: usize, column: usize) -> Option<[u8; 3]> {
        let start = 3 * self.index(row, column)?;
        self.rgb.get(start..start + 3)?.try_into().ok()
    }

    /// Depth in `row`, `column`, metres, if there is such a pixel.
    pub fn depth_at(&self, row: usize, column: usize) -> Option<f32> {
        self.depth_m.get(self.index(row, column)?).copied()
    }

    fn index(&self, row: usize, column: usize) -> Option<usize> {
        (row < self.height && column < self.width).then_some(row * self.width + column)
    }
}
