//! PNG pictures of the drawings, with fonts of our own: a server has none.

use std::sync::{Arc, LazyLock};

use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg::{Options, Tree, fontdb};

use crate::{Error, Result};

/// Pixels of the picture for a pixel of the drawing, where that fits into [`MOST_PIXELS`].
const SCALE: f32 = 2.5;
/// Pixels of a picture at most: 64 MB in memory.
const MOST_PIXELS: f32 = 16e6;

static FONTS: LazyLock<Arc<fontdb::Database>> = LazyLock::new(|| {
    let mut fonts = fontdb::Database::new();
    fonts.load_font_data(include_bytes!("assets/DejaVuSans.subset.ttf").to_vec());
    fonts.load_font_data(include_bytes!("assets/DejaVuSans-Bold.subset.ttf").to_vec());
    fonts.set_sans_serif_family("DejaVu Sans");
    Arc::new(fonts)
});

/// The drawing `svg`, a whole SVG file, as a PNG file.
///
/// # Errors
/// If `svg` is not an SVG file.
pub fn render(svg: &str) -> Result<Vec<u8>> {
    let tree = tree(svg)?;
    let (width, height) = (tree.size().width(), tree.size().height());
    let scale = SCALE.min((MOST_PIXELS / (width * height)).sqrt());
    let side = |length: f32| (length * scale).ceil().max(1.0) as u32;
    let mut picture = Pixmap::new(side(width), side(height)).ok_or_else(|| failed("too large"))?;
    resvg::render(&tree, Transform::from_scale(scale, scale), &mut picture.as_mut());
    picture.encode_png().map_err(failed)
}

/// The parsed drawing.
pub(super) fn tree(svg: &str) -> Result<Tree> {
    let options =
        Options { fontdb: FONTS.clone(), font_family: "DejaVu Sans".to_owned(), ..Options::default() };
    Tree::from_str(svg, &options).map_err(failed)
}

fn failed(why: impl std::fmt::Display) -> Error {
    Error::Usage(format!("cannot draw a plot as PNG: {why}"))
}

/// The bounds of the first text.
#[cfg(test)]
pub(super) fn text_bounds(svg: &str) -> Option<resvg::usvg::Rect> {
    use resvg::usvg::{Group, Node};
    fn find(group: &Group) -> Option<resvg::usvg::Rect> {
        group.children().iter().find_map(|node| match node {
            Node::Group(group) => find(group),
            Node::Text(text) => Some(text.bounding_box()),
            Node::Path(_) | Node::Image(_) => None,
        })
    }
    find(tree(svg).ok()?.root())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_drawn_with_the_embedded_fonts() {
        let svg = |text: &str| {
            format!(
                r#"<svg xmlns="http://www.w3.org/2000/svg" width="80" height="20"><text y="15">{text}</text></svg>"#
            )
        };
        let picture =
            |text| image::load_from_memory(&render(&svg(text)).expect("svg")).expect("png").to_luma_alpha8();
        let ink = |text| picture(text).pixels().filter(|pixel| pixel.0[1] > 128).count();
        assert_eq!(picture("").dimensions(), (200, 50));
        assert_eq!(ink(""), 0);
        assert!(ink("MM") > ink("i") && ink("i") > 0);
    }

    #[test]
    fn large_drawings_are_scaled_down() {
        let svg = r#"<svg xmlns="http://www.w3.org/2000/svg" width="20000" height="4000"></svg>"#;
        let picture = image::load_from_memory(&render(svg).expect("svg")).expect("png");
        assert!(picture.width() * picture.height() <= 16_100_000, "{}x{}", picture.width(), picture.height());
        assert!(picture.width() > 8000);
    }

    #[test]
    fn what_is_no_svg_is_refused() {
        assert!(render("<svg").is_err());
    }
}
