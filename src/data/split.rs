//! Stratified choices of images: every class keeps its share.
//!
//! Each class has a random stream of its own, so a choice in one class does not depend on the size of another.

use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use crate::rng;

/// Share of the images that becomes the test split of a data set that comes without one.
const TEST_SHARE: f64 = 0.2;

/// What [`hold_out`] decides; both lists ascend.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct HeldOut {
    pub kept: Vec<usize>,
    pub taken: Vec<usize>,
}

/// The indices of each class's images, ascending. Labels beyond the last class are left out.
pub(super) fn by_class(labels: &[u32], classes: usize) -> Vec<Vec<usize>> {
    let mut members = vec![Vec::new(); classes];
    for (index, &label) in labels.iter().enumerate() {
        if let Some(class) = members.get_mut(label as usize) {
            class.push(index);
        }
    }
    members
}

/// Takes `share` of every class, rounded, but never none or all of it. A class with one image keeps it.
pub(super) fn hold_out(
    labels: &[u32],
    classes: usize,
    share: f64,
    stream: impl Fn(u64) -> ChaCha8Rng,
) -> HeldOut {
    let mut split = HeldOut { kept: Vec::new(), taken: Vec::new() };
    for (class, mut members) in by_class(labels, classes).into_iter().enumerate() {
        members.shuffle(&mut stream(class as u64));
        let rounded = (members.len() as f64 * share).round() as usize;
        let count = rounded.max(1).min(members.len().saturating_sub(1));
        split.taken.extend(&members[..count]);
        split.kept.extend(&members[count..]);
    }
    split.taken.sort_unstable();
    split.kept.sort_unstable();
    split
}

/// `limit` images in ascending order, or all if there are no more; each class keeps its proportion to within one.
///
/// With equal streams a smaller limit chooses among the images of a larger one, up to that rounding.
pub(super) fn subset(
    labels: &[u32],
    classes: usize,
    limit: usize,
    stream: impl Fn(u64) -> ChaCha8Rng,
) -> Vec<usize> {
    let members = by_class(labels, classes);
    let counts: Vec<usize> = members.iter().map(Vec::len).collect();
    let mut chosen = Vec::with_capacity(limit.min(labels.len()));
    for (class, (mut members, quota)) in members.into_iter().zip(quotas(&counts, limit)).enumerate() {
        members.shuffle(&mut stream(class as u64));
        chosen.extend(&members[..quota]);
    }
    chosen.sort_unstable();
    chosen
}

/// Divides `limit` in proportion to `counts` by largest remainder; ties go to the earlier class.
fn quotas(counts: &[usize], limit: usize) -> Vec<usize> {
    let total: usize = counts.iter().sum();
    let limit = limit.min(total);
    // u128: images times images must not overflow where usize has 32 bits.
    let share = |&count: &usize| count as u128 * limit as u128;
    let divisor = total.max(1) as u128;
    let mut quotas: Vec<usize> = counts.iter().map(|count| (share(count) / divisor) as usize).collect();
    let mut order: Vec<usize> = (0..counts.len()).collect();
    order.sort_by_key(|&class| std::cmp::Reverse(share(&counts[class]) % divisor));
    let missing = limit - quotas.iter().sum::<usize>();
    for &class in order.iter().take(missing) {
        quotas[class] += 1;
    }
    quotas
}

/// The test split of a data set that comes without one: a fixed fifth of every class, whatever the run's seed.
pub(super) fn fixed_test(labels: &[u32], classes: usize) -> HeldOut {
    hold_out(labels, classes, TEST_SHARE, |class| rng::stream(0, "test split", &[class]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stream(seed: u64) -> impl Fn(u64) -> ChaCha8Rng {
        move |class| rng::stream(seed, "test of splits", &[class])
    }

    fn counts(labels: &[u32], indices: &[usize], classes: usize) -> Vec<usize> {
        let labels: Vec<u32> = indices.iter().map(|&i| labels[i]).collect();
        by_class(&labels, classes).iter().map(Vec::len).collect()
    }

    proptest! {
        #[test]
        fn hold_out_takes_each_class_share_and_loses_no_image(
            labels in prop::collection::vec(0u32..5, 1..300),
            share in 0.01f64..0.99,
            seed: u64,
        ) {
            let split = hold_out(&labels, 5, share, stream(seed));
            let mut all = [split.kept.clone(), split.taken.clone()].concat();
            all.sort_unstable();
            prop_assert_eq!(all, (0..labels.len()).collect::<Vec<_>>());
            let sizes = counts(&labels, &(0..labels.len()).collect::<Vec<_>>(), 5);
            for (size, taken) in sizes.into_iter().zip(counts(&labels, &split.taken, 5)) {
                let exact = size as f64 * share;
                prop_assert!((taken as f64 - exact).abs() <= 0.5 || taken == 1 || taken + 1 == size);
                prop_assert!(size < 2 || (taken >= 1 && taken < size));
            }
        }

        #[test]
        fn subset_has_the_size_asked_for_and_each_class_its_proportion(
            labels in prop::collection::vec(0u32..5, 1..300),
            limit in 1usize..400,
            seed: u64,
        ) {
            let chosen = subset(&labels, 5, limit, stream(seed));
            prop_assert_eq!(chosen.len(), limit.min(labels.len()));
            prop_assert!(chosen.is_sorted_by(|a, b| a < b));
            let sizes = counts(&labels, &(0..labels.len()).collect::<Vec<_>>(), 5);
            for (size, taken) in sizes.into_iter().zip(counts(&labels, &chosen, 5)) {
                let exact = size as f64 * chosen.len() as f64 / labels.len() as f64;
                prop_assert!((taken as f64 - exact).abs() < 1.0);
            }
        }
    }

    #[test]
    fn a_smaller_subset_is_part_of_a_larger_one() {
        let labels: Vec<u32> = (0..100).map(|i| i % 4).collect();
        let (small, large) = (subset(&labels, 4, 20, stream(3)), subset(&labels, 4, 60, stream(3)));
        assert!(small.iter().all(|i| large.binary_search(i).is_ok()));
        assert_ne!(small, subset(&labels, 4, 20, stream(4)));
    }

    #[test]
    fn quotas_follow_the_largest_remainder() {
        // 10 of 7:2:1 times 5/10: 3.5, 1.0, 0.5; one is missing after rounding down, the first tie gets it.
        assert_eq!(quotas(&[7, 2, 1], 5), [4, 1, 0]);
        assert_eq!(quotas(&[0, 0], 5), [0, 0]);
    }
}
