//! Where the labels of points go, so that they cover neither each other nor the points.

use super::svg::{Point, Rect, bold_width};

/// Font size of the labels.
const SIZE: f64 = 11.0;
/// Distances from a point that are tried, in pixels; beyond the first a thin line leads to the label.
const DISTANCES: [f64; 4] = [8.0, 18.0, 30.0, 46.0];
/// Directions that are tried, in turns of a circle from the right, clockwise. Down to the left comes first: no network
/// lies on that side of the front.
const DIRECTIONS: [f64; 12] =
    [0.375, 0.4375, 0.3125, 0.5, 0.25, 0.125, 0.875, 0.625, 0.0, 0.75, 0.9375, 0.0625];

/// A placed label.
#[derive(Debug, Clone, PartialEq)]
pub struct Label {
    /// The point's place in the list.
    pub point: usize,
    /// The left end of the text's baseline.
    pub at: Point,
    /// From the point to the label, if that lies apart.
    pub leader: Option<(Point, Point)>,
}

/// Places a label for each of `points`. One that would cover another label or a point wherever it stood is left out.
/// What is `faint` may be covered, but not where there is a choice.
pub fn place(points: &[(Point, String)], faint: &[Rect], area: Rect) -> Vec<Label> {
    let marks: Vec<Rect> = points.iter().map(|(at, _)| Rect::around(*at, 5.0)).collect();
    let mut taken: Vec<Rect> = Vec::new();
    let mut labels = Vec::new();
    for (point, (at, text)) in points.iter().enumerate() {
        let free = |rect: &Rect| {
            area.contains(rect) && !taken.iter().chain(&marks).any(|other| other.overlaps(rect))
        };
        let cost = |rect: &Rect| faint.iter().filter(|mark| mark.overlaps(rect)).count() as f64;
        let candidates = candidates(*at, bold_width(text, SIZE)).into_iter().filter(|(rect, _)| free(rect));
        let best = candidates.map(|c| (cost(&c.0) * 6.0 + c.1, c)).min_by(|a, b| a.0.total_cmp(&b.0));
        if let Some((_, (rect, distance))) = best {
            taken.push(rect);
            labels.push(Label {
                point,
                at: (rect.x, rect.bottom() - 3.0),
                leader: leader(*at, rect, distance),
            });
        }
    }
    labels
}

/// Boxes around `at` for a text of `width` pixels, the preferred ones first, each with its cost.
fn candidates(at: Point, width: f64) -> Vec<(Rect, f64)> {
    let height = SIZE + 1.0;
    let beside = |distance: f64, turn: f64| {
        let (down, right) = (turn * std::f64::consts::TAU).sin_cos();
        let centre = (at.0 + right * (distance + width / 2.0), at.1 + down * (distance + height / 2.0));
        Rect { x: centre.0 - width / 2.0, y: centre.1 - height / 2.0, width, height }
    };
    let ring = |distance: f64| DIRECTIONS.iter().map(move |turn| (beside(distance, *turn), distance));
    DISTANCES.into_iter().flat_map(ring).collect()
}

fn leader(at: Point, label: Rect, distance: f64) -> Option<(Point, Point)> {
    let near = (at.0.clamp(label.x, label.right()), at.1.clamp(label.y, label.bottom()));
    (distance > DISTANCES[0]).then_some((at, near))
}

#[cfg(test)]
mod tests {
    use super::*;

    const AREA: Rect = Rect { x: 0.0, y: 0.0, width: 400.0, height: 300.0 };

    fn boxes(labels: &[Label], points: &[(Point, String)]) -> Vec<Rect> {
        let width = |label: &Label| bold_width(&points[label.point].1, SIZE);
        labels.iter().map(|l| Rect { x: l.at.0, y: l.at.1 - 9.0, width: width(l), height: 12.0 }).collect()
    }

    #[test]
    fn labels_of_crowded_points_do_not_overlap() {
        let points: Vec<_> =
            (0..12).map(|i| ((200.0 + f64::from(i) * 7.0, 150.0), format!("#{}", 100 + i))).collect();
        let labels = place(&points, &[], AREA);
        assert_eq!(labels.len(), 12);
        let boxes = boxes(&labels, &points);
        for (i, a) in boxes.iter().enumerate() {
            assert!(AREA.contains(a) && boxes[..i].iter().all(|b| !a.overlaps(b)), "{a:?}");
        }
    }

    #[test]
    fn a_label_without_room_is_left_out() {
        let points = vec![((200.0, 150.0), "#1".to_owned()); 300];
        let labels = place(&points, &[], AREA);
        assert!(!labels.is_empty() && labels.len() < 60, "{}", labels.len());
    }

    #[test]
    fn faint_points_are_left_uncovered_where_there_is_a_choice() {
        let points = [((200.0, 150.0), "#1".to_owned())];
        let usual = boxes(&place(&points, &[], AREA), &points)[0];
        let covered = (usual.x + 3.0, usual.y + 3.0);
        let moved = boxes(&place(&points, &[Rect::around(covered, 2.5)], AREA), &points)[0];
        assert!(!Rect::around(covered, 2.5).overlaps(&moved));
    }
}
