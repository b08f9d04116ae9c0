//! The frame that all plots share: axes, grid, ticks, titles.

use super::axis::Axis;
use super::svg::{Anchor, Rect, Svg, shorten, text_width};

const WIDTH: f64 = 420.0;
const HEIGHT: f64 = 320.0;
/// Of a title.
const MOST_CHARACTERS: usize = 44;

/// The area inside the axes.
pub const AREA: Rect = Rect { x: 52.0, y: 34.0, width: WIDTH - 52.0 - 20.0, height: HEIGHT - 34.0 - 48.0 };

/// Pixels of a horizontal axis, from its start to its end.
pub const ACROSS: (f64, f64) = (AREA.x, AREA.x + AREA.width);
/// Pixels of a vertical axis, from its start to its end.
pub const UPWARDS: (f64, f64) = (AREA.y + AREA.height, AREA.y);

/// An empty plot. The vertical title stands upright over its axis, where it is read without turning one's head.
pub fn frame(label: &str, x: (&Axis, &str), y: (&Axis, &str)) -> Svg {
    let mut svg = Svg::new(WIDTH, HEIGHT, label);
    across(&mut svg, x.0);
    upwards(&mut svg, y.0);
    let (left, bottom) = (AREA.x, AREA.bottom());
    svg.path("p-axis", &format!("M{left} {}V{bottom}H{}", AREA.y, AREA.right()));
    breaks(&mut svg, x.0, y.0);
    svg.text("p-title", (8.0, 18.0), Anchor::Start, &shorten(y.1, MOST_CHARACTERS));
    svg.text("p-title", (AREA.right(), HEIGHT - 8.0), Anchor::End, &shorten(x.1, MOST_CHARACTERS));
    svg
}

/// Says below a plot which class of [`Svg::rect`] is whose.
pub fn legend(svg: &mut Svg, entries: &[(String, &str)]) {
    const ROW: f64 = 18.0;
    let (left, right) = (8.0, WIDTH - 8.0);
    let width = |name: &str| 16.0 + text_width(name, 11.0) + 14.0;
    let mut x = left;
    let mut y = svg.extend(ROW);
    for (class, name) in entries {
        if x > left && x + width(name) > right {
            x = left;
            y = svg.extend(ROW);
        }
        svg.rect(class, Rect { x, y: y + 3.0, width: 11.0, height: 9.0 }, 2.0);
        svg.text("p-t", (x + 16.0, y + 12.0), Anchor::Start, name);
        x += width(name);
    }
    svg.extend(4.0);
}

fn across(svg: &mut Svg, axis: &Axis) {
    let mut free_from = f64::NEG_INFINITY;
    for (at, text) in axis.ticks() {
        svg.line("p-grid", (at, AREA.y), (at, AREA.bottom()));
        let half = text_width(&text, 11.0) / 2.0;
        if at - half > free_from {
            svg.text("p-tick", (at, AREA.bottom() + 17.0), Anchor::Middle, &text);
            free_from = at + half + 6.0;
        }
    }
}

fn upwards(svg: &mut Svg, axis: &Axis) {
    for (at, text) in axis.ticks() {
        svg.line("p-grid", (AREA.x, at), (AREA.right(), at));
        svg.text("p-tick", (AREA.x - 7.0, at + 4.0), Anchor::End, &text);
    }
}

/// Two strokes across an axis between zero and the logarithmic part.
fn breaks(svg: &mut Svg, x: &Axis, y: &Axis) {
    if let Some(at) = x.broken_at() {
        for at in [at - 2.0, at + 2.0] {
            svg.line("p-axis", (at - 2.0, AREA.bottom() + 5.0), (at + 2.0, AREA.bottom() - 5.0));
        }
    }
    if let Some(at) = y.broken_at() {
        for at in [at - 2.0, at + 2.0] {
            svg.line("p-axis", (AREA.x - 5.0, at + 2.0), (AREA.x + 5.0, at - 2.0));
        }
    }
}
