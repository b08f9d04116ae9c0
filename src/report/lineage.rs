//! The family tree of the front: its members and their ancestors, generations from left to right.
//!
//! Every line of descent has a row of its own from where it parts from its parent's, and the rows of a family follow
//! each other, so that no line crosses a network, a text or another line.

use std::collections::{BTreeMap, BTreeSet};

use super::svg::{Anchor, Rect, Svg, bold_width, px, shorten, text_width};
use super::{IndividualView, RunView, format, front};

const ROW: f64 = 58.0;
const TOP: f64 = 62.0;
const PILL: f64 = 22.0;
/// Between a network and the vertical line to its children.
const ELBOW: f64 = 12.0;
/// Lines of edits over an edge, and characters of a line.
const MOST_EDITS: usize = 3;
const MOST_CHARACTERS: usize = 22;

/// A network and its place.
struct Node<'a> {
    individual: &'a IndividualView,
    parent: Option<u64>,
    row: usize,
}

/// Horizontal pixels of a generation that has networks in the tree.
struct Column {
    /// The middle of its networks.
    x: f64,
    /// Half the width of its networks.
    half: f64,
}

/// The family tree.
pub fn plot(view: &RunView) -> Svg {
    let nodes = layout(view);
    let columns = columns(&nodes);
    let rows = nodes.values().map(|node| node.row + 1).max().unwrap_or(0);
    let width = columns.values().last().map_or(240.0, |last| last.x + last.half + 30.0);
    let height = TOP + rows.max(1) as f64 * ROW - 16.0;
    let mut svg = Svg::new(width, height, "family tree of the front, generations from left to right");
    if nodes.is_empty() {
        svg.text("p-small", (width / 2.0, height / 2.0), Anchor::Middle, "no network is on the front");
        return svg;
    }
    svg.text("p-title", (8.0, 16.0), Anchor::Start, "generation");
    for (generation, column) in &columns {
        svg.line("p-column", (column.x, 38.0), (column.x, height - 4.0));
        svg.text("p-tick", (column.x, 34.0), Anchor::Middle, &generation.to_string());
    }
    for node in nodes.values() {
        if let Some(parent) = node.parent.and_then(|parent| nodes.get(&parent)) {
            edge(&mut svg, place(parent, &columns), place(node, &columns), node.individual);
        }
    }
    nodes.values().for_each(|node| draw(&mut svg, view, node, place(node, &columns)));
    svg
}

/// The members of the front and all their ancestors, each in a row.
fn layout(view: &RunView) -> BTreeMap<u64, Node<'_>> {
    let all: BTreeMap<u64, &IndividualView> = view.individuals.iter().map(|one| (one.id, one)).collect();
    let family = family(view, &all);
    let mut children: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    let mut roots = Vec::new();
    for id in &family {
        match parent(all[id], &all) {
            Some(parent) => children.entry(parent).or_default().push(*id),
            None => roots.push(*id),
        }
    }
    let reach = reach(&family, &all, &children);
    let mut nodes = BTreeMap::new();
    let mut rows = 0;
    let mut waiting: Vec<(u64, Option<u64>, Option<usize>)> =
        roots.iter().rev().map(|id| (*id, None, None)).collect();
    while let Some((id, parent, row)) = waiting.pop() {
        let row = row.unwrap_or(rows);
        rows = rows.max(row + 1);
        nodes.insert(id, Node { individual: all[&id], parent, row });
        let mut next = children.remove(&id).unwrap_or_default();
        // The line that goes on for longest stays in the row; the last one pushed is the first one placed.
        next.sort_by_key(|child| (reach.get(child).copied(), std::cmp::Reverse(*child)));
        let straight = next.last().copied();
        let row_of = |child: u64| (Some(child) == straight).then_some(row);
        waiting.extend(next.iter().map(|child| (*child, Some(id), row_of(*child))));
    }
    nodes
}

/// The ids of the members of the front and of all their known ancestors.
fn family(view: &RunView, all: &BTreeMap<u64, &IndividualView>) -> BTreeSet<u64> {
    let mut family = BTreeSet::new();
    for member in view.front() {
        let mut next = Some(member.id);
        while let Some(one) = next.and_then(|id| all.get(&id)).filter(|one| family.insert(one.id)) {
            // A parent is older than its child; anything else is damage, and would send the line backwards.
            next =
                one.parent.filter(|id| all.get(id).is_some_and(|parent| parent.generation < one.generation));
        }
    }
    family
}

/// A network's parent. A parent is older than its child; anything else is damage and would send the line backwards.
fn parent(one: &IndividualView, all: &BTreeMap<u64, &IndividualView>) -> Option<u64> {
    one.parent.filter(|id| all.get(id).is_some_and(|parent| parent.generation < one.generation))
}

/// The last generation among a network and its descendants.
fn reach(
    family: &BTreeSet<u64>,
    all: &BTreeMap<u64, &IndividualView>,
    children: &BTreeMap<u64, Vec<u64>>,
) -> BTreeMap<u64, u32> {
    let mut youngest_first: Vec<u64> = family.iter().copied().collect();
    youngest_first.sort_by_key(|id| std::cmp::Reverse(all[id].generation));
    let mut reach = BTreeMap::new();
    for id in youngest_first {
        let below =
            children.get(&id).into_iter().flatten().filter_map(|child| reach.get(child).copied()).max();
        reach.insert(id, below.unwrap_or(all[&id].generation));
    }
    reach
}

/// A column for each generation that has networks, as wide as its networks and the edits that lead to them.
fn columns(nodes: &BTreeMap<u64, Node>) -> BTreeMap<u32, Column> {
    let mut widths: BTreeMap<u32, (f64, f64)> = BTreeMap::new();
    for node in nodes.values() {
        let (half, edits) = widths.entry(node.individual.generation).or_default();
        *half = half.max(bold_width(&name(node.individual), 11.0) / 2.0 + 8.0);
        if node.parent.is_some() {
            *edits = edits
                .max(lines(node.individual).iter().map(|line| text_width(line, 10.0)).fold(0.0, f64::max));
        }
    }
    let mut right: f64 = 12.0;
    let place = |(generation, (half, edits)): (u32, (f64, f64))| {
        let gap = if edits > 0.0 { ELBOW + edits + 18.0 } else { 0.0 };
        let column = Column { x: right + gap + half, half };
        right = column.x + half;
        (generation, column)
    };
    widths.into_iter().map(place).collect()
}

/// The box of a network.
fn place(node: &Node, columns: &BTreeMap<u32, Column>) -> Rect {
    let Column { x, half } = columns[&node.individual.generation];
    Rect { x: x - half, y: TOP + node.row as f64 * ROW, width: 2.0 * half, height: PILL }
}

/// From the parent's right side, down, and on to the child, with the edits over the last part.
fn edge(svg: &mut Svg, from: Rect, to: Rect, child: &IndividualView) {
    let (x, y) = (from.right(), from.y + PILL / 2.0);
    let (end, below) = (to.x - 6.0, to.y + PILL / 2.0);
    let turn = x + ELBOW;
    let path = if below > y {
        let (down, on) = (px(below - 6.0), px(turn + 6.0));
        format!(
            "M{} {}H{}Q{t} {y} {t} {}V{down}Q{t} {} {on} {}H{}",
            px(x),
            px(y),
            px(turn - 6.0),
            px(y + 6.0),
            px(below),
            px(below),
            px(end),
            t = px(turn),
            y = px(y)
        )
    } else {
        format!("M{} {}H{}", px(x), px(y), px(end))
    };
    svg.path("p-edge", &path);
    svg.path("p-arrow", &format!("M{} {}l-6 -4v8Z", px(to.x), px(below)));
    let lines = lines(child);
    svg.tip(&child.edits.join(", "), |svg| {
        for (index, line) in lines.iter().rev().enumerate() {
            svg.text("p-edit", (to.x - 10.0, below - 5.0 - 11.0 * index as f64), Anchor::End, line);
        }
    });
}

fn draw(svg: &mut Svg, view: &RunView, node: &Node, at: Rect) {
    let one = node.individual;
    let (class, text) = if one.on_front { ("p-member", "p-member-id") } else { ("p-ancestor", "p-node") };
    svg.individual(one.id, &front::tip(view, one), |svg| {
        svg.rect(class, at, PILL / 2.0);
        let middle = at.x + at.width / 2.0;
        svg.text(text, (middle, at.y + 15.0), Anchor::Middle, &name(one));
        if let (Some(objective), Some(value)) = (view.objectives.first(), one.value(0)) {
            svg.text(
                "p-value",
                (middle, at.bottom() + 12.0),
                Anchor::Middle,
                &format::value(&objective.unit, value),
            );
        }
    });
}

fn name(individual: &IndividualView) -> String {
    format!("#{}", individual.id)
}

/// The edits in lines, equal ones counted: "widen ×2".
fn lines(individual: &IndividualView) -> Vec<String> {
    let mut counted: Vec<(&str, usize)> = Vec::new();
    for edit in &individual.edits {
        match counted.iter_mut().find(|(name, _)| name == edit) {
            Some((_, count)) => *count += 1,
            None => counted.push((edit, 1)),
        }
    }
    let line = |(edit, count): &(&str, usize)| match count {
        1 => shorten(edit, MOST_CHARACTERS),
        _ => format!("{} ×{count}", shorten(edit, MOST_CHARACTERS - 3)),
    };
    let shown = if counted.len() > MOST_EDITS { MOST_EDITS - 1 } else { MOST_EDITS };
    let mut lines: Vec<String> = counted.iter().take(shown).map(line).collect();
    if counted.len() > shown {
        lines.push(format!("{} more", counted.len() - shown));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    fn one(id: u64, generation: u32, parent: Option<u64>, on_front: bool) -> IndividualView {
        IndividualView {
            id,
            generation,
            parent,
            on_front,
            edits: vec!["widen".into()],
            ..IndividualView::default()
        }
    }

    fn rows(individuals: Vec<IndividualView>) -> BTreeMap<u64, usize> {
        let view = RunView { individuals, ..RunView::default() };
        layout(&view).into_iter().map(|(id, node)| (id, node.row)).collect()
    }

    #[test]
    fn the_longest_line_stays_in_its_row_and_others_get_rows_below() {
        let rows = rows(vec![
            one(0, 0, None, false),
            one(1, 1, Some(0), true),
            one(2, 1, Some(0), false),
            one(3, 2, Some(2), true),
            one(4, 2, Some(0), false),
        ]);
        assert_eq!(rows, BTreeMap::from([(0, 0), (2, 0), (3, 0), (1, 1)]));
    }

    #[test]
    fn damaged_descent_ends_the_line_instead_of_hanging() {
        let looped = vec![one(1, 3, Some(2), true), one(2, 3, Some(1), true), one(3, 1, Some(99), true)];
        assert_eq!(rows(looped).len(), 3);
    }

    #[test]
    fn no_two_networks_and_no_two_lines_of_descent_meet() {
        let view = sample::run();
        let nodes = layout(&view);
        let columns = columns(&nodes);
        let spans: Vec<(u64, Rect)> = nodes
            .iter()
            .map(|(id, node)| {
                let at = place(node, &columns);
                let from =
                    node.parent.map_or(at.x, |parent| place(&nodes[&parent], &columns).right() + ELBOW);
                (*id, Rect { x: from, width: at.right() - from, y: at.y - 34.0, height: ROW - 1.0 })
            })
            .collect();
        for (id, span) in &spans {
            assert!(spans.iter().all(|(other, rect)| other == id || !rect.overlaps(span)), "{id}");
        }
        let ancestors = nodes.values().filter(|node| !node.individual.on_front).count();
        assert!(spans.len() > ancestors && ancestors > 3, "{ancestors}");
    }

    #[test]
    fn edits_are_counted_and_kept_short() {
        let mut child = one(1, 1, Some(0), true);
        child.edits = ["widen", "deepen", "widen"].map(String::from).to_vec();
        assert_eq!(lines(&child), ["widen ×2", "deepen"]);
        child.edits = (0..6).map(|i| format!("{i} an edit with a very long name")).collect();
        assert_eq!(lines(&child).len(), 3);
        assert_eq!(lines(&child)[2], "4 more");
    }
}
