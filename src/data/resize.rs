//! Resizing by area average, in whole numbers: the same bytes on every machine.

use super::ImageShape;

/// Resizes images of one shape to another height and width.
///
/// An image of another aspect ratio is first cut to the largest centred part that has the wanted one, so nothing is
/// stretched. Every pixel of the result is the average of the area it covers, which keeps thin strokes when an image
/// shrinks (28x28 digits to 14x14) where interpolation between neighbours would skip them.
pub(super) struct Resize {
    from: ImageShape,
    rows: Vec<Cover>,
    columns: Vec<Cover>,
    /// Sum of the weights of one result pixel.
    area: u64,
}

/// The input pixels that one output pixel covers along an axis: the first one, and how much of each.
///
/// In units of 1/output-length of an input pixel, overlaps are whole numbers.
struct Cover {
    first: usize,
    weights: Vec<u64>,
}

impl Resize {
    /// From images of shape `from`, none of whose sides is 0, to `height` rows and `width` columns.
    pub fn new(from: ImageShape, height: usize, width: usize) -> Self {
        let (cut_height, cut_width) = centred_cut(from, height, width);
        Self {
            from,
            rows: cover(from.height, cut_height, height),
            columns: cover(from.width, cut_width, width),
            area: (cut_height * cut_width) as u64,
        }
    }

    /// Resizes every image in `pixels`, `[n, channels, height, width]`.
    pub fn apply(&self, pixels: &[u8]) -> Vec<u8> {
        let planes = pixels.chunks_exact(self.from.height * self.from.width);
        let mut resized = Vec::with_capacity(planes.len() * self.rows.len() * self.columns.len());
        for plane in planes {
            for row in &self.rows {
                resized.extend(self.columns.iter().map(|column| self.average(plane, row, column)));
            }
        }
        resized
    }

    fn average(&self, plane: &[u8], row: &Cover, column: &Cover) -> u8 {
        let lines = plane.chunks_exact(self.from.width).skip(row.first);
        let weigh = |line: &[u8]| -> u64 {
            line[column.first..]
                .iter()
                .zip(&column.weights)
                .map(|(&byte, weight)| u64::from(byte) * weight)
                .sum()
        };
        let sum: u64 = lines.zip(&row.weights).map(|(line, weight)| weigh(line) * weight).sum();
        // A weighted mean of bytes is a byte.
        ((sum + self.area / 2) / self.area) as u8
    }
}

/// The largest height and width inside `from` with the proportions of `height` to `width`.
fn centred_cut(from: ImageShape, height: usize, width: usize) -> (usize, usize) {
    let scaled = |side: usize, by: usize, over: usize| ((side * by + over / 2) / over).max(1);
    if from.width * height > from.height * width {
        (from.height, scaled(from.height, width, height).min(from.width))
    } else {
        (scaled(from.width, height, width).min(from.height), from.width)
    }
}

/// How `to` output pixels cover the middle `cut` of `length` input pixels.
fn cover(length: usize, cut: usize, to: usize) -> Vec<Cover> {
    let offset = (length - cut) / 2;
    let one = |output: usize| {
        // Output pixel i covers i*cut .. (i+1)*cut; input pixel k covers k*to .. (k+1)*to.
        let (start, end) = (output * cut, (output + 1) * cut);
        let inputs = start / to..end.div_ceil(to);
        let overlap = |k: usize| (end.min((k + 1) * to) - start.max(k * to)) as u64;
        Cover { first: offset + inputs.start, weights: inputs.map(overlap).collect() }
    };
    (0..to).map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shape(channels: usize, height: usize, width: usize) -> ImageShape {
        ImageShape { channels, height, width }
    }

    #[test]
    fn halving_averages_blocks_of_four_in_each_channel() {
        #[rustfmt::skip]
        let image = [
            0, 4,  8, 8,
            0, 4,  8, 9,

            255, 255,  0, 0,
            255, 255,  0, 0,
        ];
        assert_eq!(Resize::new(shape(2, 2, 4), 1, 2).apply(&image), [2, 8, 255, 0]);
    }

    #[test]
    fn three_pixels_become_two_by_their_overlap() {
        // Outputs cover 1.5 inputs each: (0 + 90/2) / 1.5 = 30 and (90/2 + 240) / 1.5 = 190.
        let image = [0, 90, 240, 0, 90, 240, 0, 90, 240];
        assert_eq!(Resize::new(shape(1, 3, 3), 2, 2).apply(&image), [30, 190, 30, 190]);
    }

    #[test]
    fn a_wide_image_is_cut_in_the_middle() {
        let image = [1, 7, 7, 1, 1, 7, 7, 1];
        assert_eq!(Resize::new(shape(1, 2, 4), 2, 2).apply(&image), [7, 7, 7, 7]);
        let tall = [1, 1, 7, 7, 7, 7, 1, 1];
        assert_eq!(Resize::new(shape(1, 4, 2), 2, 2).apply(&tall), [7, 7, 7, 7]);
    }

    #[test]
    fn enlarging_repeats_pixels() {
        assert_eq!(Resize::new(shape(1, 1, 2), 2, 4).apply(&[3, 9]), [3, 3, 9, 9, 3, 3, 9, 9]);
    }

    proptest! {
        #[test]
        fn keeps_the_mean_and_the_range(
            (side, to, pixels) in (1usize..12, 1usize..12).prop_flat_map(|(side, to)| {
                (Just(side), Just(to), prop::collection::vec(any::<u8>(), side * side))
            }),
        ) {
            let resized = Resize::new(shape(1, side, side), to, to).apply(&pixels);
            prop_assert_eq!(resized.len(), to * to);
            let mean = |bytes: &[u8]| bytes.iter().map(|&b| f64::from(b)).sum::<f64>() / bytes.len() as f64;
            prop_assert!((mean(&resized) - mean(&pixels)).abs() <= 0.5 + 1e-9);
            prop_assert!(resized.iter().min() >= pixels.iter().min());
            prop_assert!(resized.iter().max() <= pixels.iter().max());
        }

        #[test]
        fn any_shape_reaches_any_other(
            (height, width) in (1usize..20, 1usize..20),
            (to_height, to_width) in (1usize..20, 1usize..20),
            byte: u8,
        ) {
            let image = vec![byte; 3 * height * width];
            let resized = Resize::new(shape(3, height, width), to_height, to_width).apply(&image);
            prop_assert_eq!(resized, vec![byte; 3 * to_height * to_width]);
        }
    }
}
