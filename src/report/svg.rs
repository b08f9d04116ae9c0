//! A small SVG writer. Drawings carry classes, not colours: the page's style sheet colours them for light and dark,
//! and a drawing that leaves the page brings a light style sheet of its own.

use std::fmt::Write;

use maud::{Markup, PreEscaped, Render, html};

use super::palette;

/// x to the right, y downwards, in pixels.
pub type Point = (f64, f64);

/// Where a text's point lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Anchor {
    /// At the left end.
    Start,
    /// In the middle.
    Middle,
    /// At the right end.
    End,
}

impl Anchor {
    fn css(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Middle => "middle",
            Self::End => "end",
        }
    }
}

/// An upright rectangle.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rect {
    pub x: f64,
    pub y: f64,
    pub width: f64,
    pub height: f64,
}

impl Rect {
    /// The square around `centre`.
    pub fn around(centre: Point, reach: f64) -> Self {
        Self { x: centre.0 - reach, y: centre.1 - reach, width: 2.0 * reach, height: 2.0 * reach }
    }

    pub fn centre(&self) -> Point {
        (self.x + 0.5 * self.width, self.y + 0.5 * self.height)
    }

    pub fn right(&self) -> f64 {
        self.x + self.width
    }

    pub fn bottom(&self) -> f64 {
        self.y + self.height
    }

    pub fn overlaps(&self, other: &Self) -> bool {
        self.x < other.right() && other.x < self.right() && self.y < other.bottom() && other.y < self.bottom()
    }

    pub fn contains(&self, other: &Self) -> bool {
        self.x <= other.x
            && other.right() <= self.right()
            && self.y <= other.y
            && other.bottom() <= self.bottom()
    }
}

/// A drawing.
#[derive(Debug, Clone)]
pub struct Svg {
    width: f64,
    height: f64,
    label: String,
    body: String,
}

impl Svg {
    /// An empty drawing; `label` is what a screen reader says.
    pub fn new(width: f64, height: f64, label: &str) -> Self {
        Self { width, height, label: clean(label), body: String::new() }
    }

    /// Adds room at the bottom; where it begins.
    pub fn extend(&mut self, by: f64) -> f64 {
        self.height += by;
        self.height - by
    }

    /// In pixels.
    pub fn width(&self) -> f64 {
        self.width
    }

    pub fn line(&mut self, class: &str, from: Point, to: Point) {
        self.push(
            html! { line class=(class) x1=(px(from.0)) y1=(px(from.1)) x2=(px(to.0)) y2=(px(to.1)) {} },
        );
    }

    pub fn path(&mut self, class: &str, d: &str) {
        self.push(html! { path class=(class) d=(d) {} });
    }

    pub fn circle(&mut self, class: &str, at: Point, radius: f64) {
        self.push(html! { circle class=(class) cx=(px(at.0)) cy=(px(at.1)) r=(px(radius)) {} });
    }

    pub fn rect(&mut self, class: &str, at: Rect, round: f64) {
        self.push(html! {
            rect class=(class) x=(px(at.x)) y=(px(at.y)) width=(px(at.width)) height=(px(at.height)) rx=(px(round)) {}
        });
    }

    pub fn text(&mut self, class: &str, at: Point, anchor: Anchor, text: &str) {
        self.push(html! {
            text class=(class) x=(px(at.0)) y=(px(at.1)) text-anchor=(anchor.css()) { (clean(text)) }
        });
    }

    /// What `draw` adds belongs to the individual `id`: it shows `tip` under the pointer and lights up with all else
    /// on the page that belongs to it.
    pub fn individual(&mut self, id: u64, tip: &str, draw: impl FnOnce(&mut Self)) {
        let _ = write!(self.body, r#"<g class="p-id" data-id="{id}">"#);
        self.push(html! { title { (clean(tip)) } });
        draw(self);
        self.body.push_str("</g>");
    }

    /// What `draw` adds shows `tip` under the pointer.
    pub fn tip(&mut self, tip: &str, draw: impl FnOnce(&mut Self)) {
        self.body.push_str("<g>");
        self.push(html! { title { (clean(tip)) } });
        draw(self);
        self.body.push_str("</g>");
    }

    /// For the page: takes its colours from the page and shrinks with it.
    pub fn inline(&self) -> Markup {
        html! {
            svg role="img" aria-label=(self.label) viewBox=(self.view_box()) width=(px(self.width)) height=(px(self.height)) {
                (PreEscaped(&self.body))
            }
        }
    }

    /// A whole SVG file, in light colours on white.
    pub fn standalone(&self) -> String {
        let background = Rect { x: 0.0, y: 0.0, width: self.width, height: self.height };
        let mut page = Self { body: String::new(), ..self.clone() };
        page.rect("p-background", background, 0.0);
        html! {
            svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label=(self.label) viewBox=(self.view_box())
                width=(px(self.width)) height=(px(self.height)) {
                style { (PreEscaped(palette::standalone_css())) }
                (PreEscaped(page.body))
                (PreEscaped(&self.body))
            }
        }
        .into_string()
    }

    fn view_box(&self) -> String {
        format!("0 0 {} {}", px(self.width), px(self.height))
    }

    fn push(&mut self, element: Markup) {
        element.render_to(&mut self.body);
    }
}

/// A coordinate, to a tenth of a pixel; what is not a number lies at 0, so that a drawing is always well formed.
pub fn px(value: f64) -> String {
    let rounded = (value * 10.0).round() / 10.0;
    if rounded.is_finite() { format!("{}", rounded + 0.0) } else { "0".to_owned() }
}

/// Replaces the characters that XML forbids even when escaped, which any name of a class may hold.
pub fn clean(text: &str) -> String {
    let allowed = |c: &char| matches!(c, '\t' | '\n' | ' '..='\u{fffd}' | '\u{10000}'..);
    text.chars().map(|c| if allowed(&c) && c != '\u{7f}' { c } else { '\u{fffd}' }).collect()
}

/// At most `most` characters, the last one an ellipsis where something was cut.
pub fn shorten(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most.saturating_sub(1)).chain(['…']).collect()
}

/// Advance widths of the printable ASCII characters from the space on, in thousandths of the size (DejaVu Sans, from
/// its `hmtx` table). Browsers draw with their own font, which is narrower or about as wide.
const ADVANCES: [u16; 95] = [
    318, 401, 460, 838, 636, 950, 780, 275, 390, 390, 500, 838, 318, 361, 318, 337, 636, 636, 636, 636, 636,
    636, 636, 636, 636, 636, 337, 337, 838, 838, 838, 531, 1000, 684, 686, 698, 770, 632, 575, 775, 752, 295,
    295, 656, 557, 863, 748, 787, 603, 787, 695, 635, 611, 732, 684, 989, 685, 611, 685, 390, 337, 390, 838,
    500, 500, 613, 635, 550, 635, 615, 352, 635, 634, 278, 278, 579, 278, 974, 634, 612, 635, 635, 411, 521,
    392, 634, 592, 818, 592, 592, 525, 636, 337, 636, 838,
];

/// Pixels that `text` takes at font size `size`.
pub fn text_width(text: &str, size: f64) -> f64 {
    let advance = |c: char| match c {
        ' '..='~' => f64::from(ADVANCES[c as usize - 32]),
        '\u{a0}' => 318.0,
        '…' => 1000.0,
        _ => 700.0,
    };
    text.chars().map(advance).sum::<f64>() * size / 1000.0
}

/// Pixels that bold `text` takes at font size `size`.
pub fn bold_width(text: &str, size: f64) -> f64 {
    text_width(text, size) * 1.12
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::png;

    #[test]
    fn hostile_text_is_escaped_and_stays_xml() {
        let mut svg = Svg::new(100.0, 50.0, "\"><script>alert(1)</script>\u{1}");
        svg.individual(7, "</title>\u{0}", |svg| {
            svg.text("p-t", (1.0, 20.0), Anchor::Start, "<b>&\u{1f}\u{ffff}")
        });
        let text = svg.standalone();
        assert!(png::tree(&text).is_ok());
        assert!(!text.contains("<script>") && !text.contains("<b>"));
        assert!(text.contains("&lt;b&gt;&amp;\u{fffd}\u{fffd}"));
    }

    #[test]
    fn coordinates_are_always_numbers() {
        assert_eq!(
            [px(1.0), px(-0.01), px(2.26), px(f64::NAN), px(f64::INFINITY)],
            ["1", "0", "2.3", "0", "0"]
        );
    }

    #[test]
    fn widths_agree_with_the_embedded_font() {
        for (class, text, expected) in [
            ("p-t", "conv 3x3, 128", text_width("conv 3x3, 128", 11.0)),
            ("p-label", "conv 3x3, 128", bold_width("conv 3x3, 128", 11.0)),
        ] {
            let mut svg = Svg::new(400.0, 50.0, "");
            svg.text(class, (0.0, 20.0), Anchor::Start, text);
            let drawn = png::text_bounds(&svg.standalone()).expect("one text").width();
            assert!((f64::from(drawn) - expected).abs() < 0.06 * expected, "{class}: {drawn} {expected}");
        }
    }

    #[test]
    fn shortening_keeps_whole_characters() {
        assert_eq!([shorten("äöü", 3), shorten("äöüß", 3)], ["äöü", "äö…"]);
    }
}
