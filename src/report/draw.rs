//! An architecture, drawn from top to bottom: the longest path straight, branches beside it, skips as arcs.

use super::blocks::{Block, blocks};
use super::svg::{Anchor, Rect, Svg, bold_width, px, shorten, text_width};
use super::{LayerKind, LayerView, format};

const BOX: f64 = 34.0;
const GAP: f64 = 16.0;
const BETWEEN: f64 = 20.0;
const MARGIN: f64 = 6.0;
/// Between arcs, and between the first arc and the boxes.
const LANE: f64 = 9.0;
/// Radius of a line's turn.
const TURN: f64 = 9.0;
const MOST_CHARACTERS: usize = 34;

/// A network as an SVG file: a box per layer, or per chain such as Conv-BatchNorm-ReLU, with its shape and parameters.
pub fn draw_svg(layers: &[LayerView]) -> String {
    draw(layers, "network").standalone()
}

/// A network; `label` is what a screen reader says.
pub(super) fn draw(layers: &[LayerView], label: &str) -> Svg {
    let blocks = blocks(layers);
    let frame = Frame::new(&blocks);
    let (width, height) = frame.size(&blocks);
    let mut svg = Svg::new(width, height, label);
    if blocks.is_empty() {
        svg.text("p-small", (width / 2.0, height / 2.0), Anchor::Middle, "not stored");
    }
    for (index, block) in blocks.iter().enumerate() {
        for input in &block.inputs {
            straight(&mut svg, &frame, &blocks, *input, index);
        }
    }
    arcs(&mut svg, &frame, &blocks);
    blocks.iter().for_each(|block| draw_block(&mut svg, block, frame.place(block)));
    svg
}

/// The measures of a drawing.
struct Frame {
    /// Of a box.
    width: f64,
    /// Of the first column.
    left: f64,
    columns: usize,
    /// Arcs to the left of the longest path, and to the right of all columns.
    skips: Vec<Arc>,
    detours: Vec<Arc>,
}

/// An edge that goes around the boxes.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Arc {
    from: usize,
    to: usize,
    lane: usize,
}

impl Frame {
    fn new(blocks: &[Block]) -> Self {
        let widest = blocks.iter().map(least_width).fold(96.0, f64::max);
        let edges = |kind: Route| -> Vec<(usize, usize)> {
            let all = blocks
                .iter()
                .enumerate()
                .flat_map(|(to, block)| block.inputs.iter().map(move |from| (*from, to)));
            let mut edges: Vec<_> =
                all.filter(|(from, to)| route(&blocks[*from], &blocks[*to]) == kind).collect();
            edges.dedup();
            edges
        };
        let (skips, detours) = (lanes(blocks, edges(Route::Left)), lanes(blocks, edges(Route::Right)));
        let columns = blocks.iter().map(|block| block.column + 1).max().unwrap_or(1);
        Self { width: widest, left: MARGIN + room(&skips), columns, skips, detours }
    }

    fn size(&self, blocks: &[Block]) -> (f64, f64) {
        let rows = blocks.iter().map(|block| block.row + 1).max().unwrap_or(1) as f64;
        let columns = self.columns as f64 * (self.width + BETWEEN) - BETWEEN;
        (self.left + columns + room(&self.detours) + MARGIN, 2.0 * MARGIN + rows * (BOX + GAP) - GAP)
    }

    fn place(&self, block: &Block) -> Rect {
        let x = self.left + block.column as f64 * (self.width + BETWEEN);
        Rect { x, y: MARGIN + block.row as f64 * (BOX + GAP), width: self.width, height: BOX }
    }
}

/// Pixels that arcs take beside the boxes.
fn room(arcs: &[Arc]) -> f64 {
    arcs.iter().map(|arc| (arc.lane + 2) as f64 * LANE).fold(0.0, f64::max)
}

/// How an edge is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Route {
    /// Down, at most changing the column.
    Down,
    /// Around the boxes on the left: a skip along the longest path.
    Left,
    /// Around all columns on the right.
    Right,
}

fn route(from: &Block, to: &Block) -> Route {
    let next = from.row + 1 == to.row;
    match (from.column, to.column) {
        (_, _) if next => Route::Down,
        (0, 0) => Route::Left,
        // The column of a side chain is kept free until the chain joins the longest path.
        (_, 0) => Route::Down,
        (_, _) => Route::Right,
    }
}

/// Gives each edge the innermost lane that is free over its rows, short edges first.
fn lanes(blocks: &[Block], mut edges: Vec<(usize, usize)>) -> Vec<Arc> {
    let rows = |(from, to): (usize, usize)| (blocks[from].row, blocks[to].row);
    edges.sort_by_key(|edge| (rows(*edge).1 - rows(*edge).0, rows(*edge).0));
    let mut arcs: Vec<Arc> = Vec::new();
    for edge in edges {
        let (start, end) = rows(edge);
        let overlaps = |arc: &Arc| {
            let (other_start, other_end) = rows((arc.from, arc.to));
            start < other_end && other_start < end
        };
        let lane = (0..).find(|lane| !arcs.iter().any(|arc| arc.lane == *lane && overlaps(arc))).unwrap_or(0);
        arcs.push(Arc { from: edge.0, to: edge.1, lane });
    }
    arcs
}

/// An edge that needs no arc.
fn straight(svg: &mut Svg, frame: &Frame, blocks: &[Block], from: usize, to: usize) {
    if route(&blocks[from], &blocks[to]) != Route::Down {
        return;
    }
    let (a, b) = (frame.place(&blocks[from]), frame.place(&blocks[to]));
    match (blocks[from].column, blocks[to].column) {
        // The next column is free beside the row in which a chain starts, and beside the one in which it joins.
        (0, 1) => fork(svg, a, b),
        (1, 0) => join(svg, a, b),
        (_, _) => down(svg, a, b),
    }
}

/// Out of the right side, and down onto the box in the next column.
fn fork(svg: &mut Svg, from: Rect, to: Rect) {
    let (x, y) = (to.x + to.width / 2.0, from.y + BOX * 0.68);
    let path = format!(
        "M{} {y}H{}Q{x} {y} {x} {}V{}",
        px(from.right()),
        px(x - TURN),
        px(y + TURN),
        px(to.y - 4.0),
        x = px(x),
        y = px(y)
    );
    svg.path("p-edge", &path);
    svg.path("p-arrow", &format!("M{} {}l-4 -6h8Z", px(x), px(to.y)));
}

/// Down, and into the right side of the box in the column before.
fn join(svg: &mut Svg, from: Rect, to: Rect) {
    let (x, y) = (from.x + from.width / 2.0, to.y + BOX * 0.32);
    let path = format!(
        "M{x} {}V{}Q{x} {y} {} {y}H{}",
        px(from.bottom()),
        px(y - TURN),
        px(x - TURN),
        px(to.right() + 4.0),
        x = px(x),
        y = px(y)
    );
    svg.path("p-edge", &path);
    svg.path("p-arrow", &format!("M{} {}l6 -4v8Z", px(to.right()), px(y)));
}

/// Down to the gap above the other box and, through the gap, to the middle of its upper side.
fn down(svg: &mut Svg, from: Rect, to: Rect) {
    let middle = |at: Rect| at.x + at.width / 2.0;
    let (start, end, top, bend) = (middle(from), middle(to), to.y - 4.0, to.y - GAP);
    let half = px((bend + top) / 2.0);
    let curve = format!("C{s} {half} {e} {half} {e} {}", px(top), s = px(start), e = px(end));
    svg.path("p-edge", &format!("M{} {}V{}{curve}", px(start), px(from.bottom()), px(bend)));
    svg.path("p-arrow", &format!("M{} {}l-4 -6h8Z", px(end), px(to.y)));
}

fn arcs(svg: &mut Svg, frame: &Frame, blocks: &[Block]) {
    for arc in &frame.skips {
        let (from, to) = (frame.place(&blocks[arc.from]), frame.place(&blocks[arc.to]));
        draw_arc(svg, (from.x, from.y), (to.x, to.y), frame.left - (arc.lane + 1) as f64 * LANE - 4.0);
    }
    let right = frame.left + frame.columns as f64 * (frame.width + BETWEEN) - BETWEEN;
    for arc in &frame.detours {
        let (from, to) = (frame.place(&blocks[arc.from]), frame.place(&blocks[arc.to]));
        draw_arc(svg, (from.right(), from.y), (to.right(), to.y), right + (arc.lane + 1) as f64 * LANE + 4.0);
    }
}

/// From the side of one box, around at `x`, into the side of another one; the points are the boxes' upper corners.
fn draw_arc(svg: &mut Svg, from: (f64, f64), to: (f64, f64), x: f64) {
    let out = (x - from.0).signum();
    let radius = TURN.min((x - from.0).abs()).min((x - to.0).abs());
    let (start, end) = (from.1 + BOX * 0.68, to.1 + BOX * 0.32);
    let near = px(x - out * radius);
    svg.path(
        "p-skip",
        &format!(
            "M{} {s}H{near}Q{x} {s} {x} {}V{}Q{x} {e} {near} {e}H{}",
            px(from.0),
            px(start + radius),
            px(end - radius),
            px(to.0 + out * 4.0),
            s = px(start),
            e = px(end),
            x = px(x),
        ),
    );
    svg.path("p-skip-arrow", &format!("M{} {}l{} -4v8Z", px(to.0), px(end), px(out * 6.0)));
}

fn draw_block(svg: &mut Svg, block: &Block, at: Rect) {
    svg.tip(&tip(block), |svg| {
        svg.rect(colour(block.kind), at, 5.0);
        svg.text("p-label", (at.x + 8.0, at.y + 14.0), Anchor::Start, &title(block));
        svg.text("p-small", (at.right() - 8.0, at.y + 14.0), Anchor::End, &block.tail.join(" · "));
        svg.text("p-small", (at.x + 8.0, at.y + 27.0), Anchor::Start, &block.shape);
        svg.text("p-small", (at.right() - 8.0, at.y + 27.0), Anchor::End, &params(block));
    });
}

fn tip(block: &Block) -> String {
    let mut parts = vec![block.label.as_str()];
    parts.extend(block.tail.iter().map(String::as_str));
    format!("{}\noutput {}, {} parameters", parts.join(", "), block.shape, block.params)
}

fn title(block: &Block) -> String {
    shorten(&block.label, MOST_CHARACTERS)
}

/// The parameters, if there are any.
fn params(block: &Block) -> String {
    if block.params == 0 { String::new() } else { format::count(block.params as f64) }
}

/// The width that the texts of a box need.
fn least_width(block: &Block) -> f64 {
    let upper = bold_width(&title(block), 11.0) + text_width(&block.tail.join(" · "), 10.0);
    let lower = text_width(&block.shape, 10.0) + text_width(&params(block), 10.0);
    upper.max(lower) + 16.0 + 12.0
}

/// The class that colours a kind of layer.
pub(super) fn colour(kind: LayerKind) -> &'static str {
    match kind {
        LayerKind::Conv => "p-conv",
        LayerKind::Linear => "p-linear",
        LayerKind::Pool | LayerKind::GlobalPool => "p-pool",
        LayerKind::Add | LayerKind::Multiply | LayerKind::Concat | LayerKind::Mix => "p-join",
        LayerKind::Input
        | LayerKind::Norm
        | LayerKind::Activation
        | LayerKind::Shuffle
        | LayerKind::Flatten => "p-plain",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{png, sample};

    #[test]
    fn every_box_of_every_sample_is_drawn_inside_the_picture() {
        for member in sample::run().front() {
            let blocks = blocks(&member.layers);
            let frame = Frame::new(&blocks);
            let (width, height) = frame.size(&blocks);
            let picture = Rect { x: 0.0, y: 0.0, width, height };
            let boxes: Vec<Rect> = blocks.iter().map(|block| frame.place(block)).collect();
            for (index, rect) in boxes.iter().enumerate() {
                assert!(picture.contains(rect) && boxes[..index].iter().all(|other| !other.overlaps(rect)));
            }
            let svg = draw_svg(&member.layers);
            assert!(png::tree(&svg).is_ok());
            assert_eq!(svg.matches("<rect").count(), blocks.len() + 1);
        }
    }

    #[test]
    fn arcs_over_the_same_rows_have_lanes_of_their_own() {
        let frame = Frame::new(&blocks(&sample::deep(20)));
        assert!(frame.skips.len() > 3);
        let blocks = blocks(&sample::deep(20));
        for (index, a) in frame.skips.iter().enumerate() {
            for b in frame.skips[..index].iter().filter(|b| b.lane == a.lane) {
                let apart = blocks[a.to].row <= blocks[b.from].row || blocks[b.to].row <= blocks[a.from].row;
                assert!(apart, "{a:?} {b:?}");
            }
        }
    }

    #[test]
    fn an_unknown_network_says_so() {
        assert!(draw_svg(&[]).contains("not stored"));
    }
}
