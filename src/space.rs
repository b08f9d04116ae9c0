//! The space of networks and morphisms: the networks a search starts from, and the steps between networks.

use morphisms::{Architecture, Conv, Draft, LayerId, Morphism, Promise, Shape, Site, catalog};
use rand::RngExt;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;

use crate::config::Config;
use crate::individual::Edit;
use crate::objective::{self, Count, Kind};
use crate::strategy::{Change, Space};
use crate::{Error, Result};

/// Edits of a random network before its size is brought to its target, at most: about as many as a long search strings together.
const MOST_EDITS: usize = 16;
/// Edits that are tried to bring a random network to its size; those that lead away from it are not taken.
const MOST_CORRECTIONS: usize = 60;
/// The logarithm of the ratio at which a size is met.
const CLOSE: f64 = 0.1;
/// How much larger than the largest initial network a network may be, in every cheap objective: the reference point
/// of the hypervolume, beyond which nothing counts.
pub(crate) const ROOM: f64 = 5.0;
/// Maps are pooled while they are at least this high and wide.
const POOLED_FROM: usize = 8;
/// Poolings at most.
const MOST_POOLINGS: usize = 3;

/// Networks, with morphisms as the steps between them.
#[derive(Clone)]
pub struct Networks {
    /// The networks of the initial population.
    pub initial: Vec<Architecture>,
    /// The morphisms in use.
    pub morphisms: Vec<&'static dyn Morphism>,
    /// The way in which morphisms are done that have several; empty: the one listed first.
    variant: String,
    /// How random networks are sized.
    sizes: Sizes,
}

/// The sizes of random networks: uniform in the logarithm between two ends.
#[derive(Clone, Copy)]
struct Sizes {
    of: Count,
    least: f64,
    most: f64,
}

impl Networks {
    /// A random edit of a network; none if nothing applies.
    fn edit(&self, network: &Architecture, rng: &mut ChaCha8Rng) -> Result<Option<(Edit, Architecture)>> {
        random_edit(network, &self.morphisms, &self.variant, rng)
    }

    /// The space of a run.
    ///
    /// # Errors
    /// If the settings name a morphism that does not exist.
    pub fn new(config: &Config, initial: Vec<Architecture>) -> Result<Self> {
        let named = |name: &String| {
            catalog::named(name)
                .ok_or_else(|| Error::Usage(format!("lemonade.morphisms: no morphism `{name}`")))
        };
        let morphisms = match config.lemonade.morphisms.as_slice() {
            [] => catalog::all().to_vec(),
            names => names.iter().map(named).collect::<Result<_>>()?,
        };
        let approximate = config.lemonade.approximate;
        let morphisms: Vec<&'static dyn Morphism> =
            morphisms.into_iter().filter(|one| approximate || one.promise() == Promise::Exact).collect();
        let sizes = Sizes::of(config, &initial)?;
        Ok(Self { initial, morphisms, variant: config.lemonade.variant.clone(), sizes })
    }
}

impl Sizes {
    /// By the first counted objective, or parameters, between its bounds; where it has none, between the smallest initial network and
    /// the reference point.
    fn of(config: &Config, initial: &[Architecture]) -> Result<Self> {
        let counted =
            config.objectives.iter().filter_map(|name| match objective::named(name).map(|one| one.kind) {
                Ok(Kind::Counted(count)) => Some((name.as_str(), count)),
                Ok(_) | Err(_) => None,
            });
        let params = || match objective::named("params").map(|one| one.kind) {
            Ok(Kind::Counted(count)) => Ok(("params", count)),
            Ok(_) | Err(_) => Err(Error::Usage("parameters are not counted".into())),
        };
        let (name, of) = counted.clone().next().map_or_else(params, Ok)?;
        let values = || initial.iter().map(of);
        let smallest = || values().fold(f64::INFINITY, f64::min);
        let largest = || ROOM * values().fold(0.0, f64::max);
        let least = config.min.get(name).copied().unwrap_or_else(smallest).max(1.0);
        let most = config.max.get(name).copied().unwrap_or_else(largest);
        Ok(Self { of, least, most: most.max(least) })
    }

    /// How far a network is from a target, as a ratio's logarithm.
    fn distance(&self, network: &Architecture, target: f64) -> f64 {
        ((self.of)(network).max(1.0).ln() - target).abs()
    }
}

impl Space for Networks {
    type Design = Architecture;
    type Edit = Edit;

    fn random(&self, rng: &mut ChaCha8Rng) -> Result<Option<Change<Self>>> {
        let Some(start) = self.initial.choose(rng) else { return Ok(None) };
        let target = rng.random_range(self.sizes.least.ln()..=self.sizes.most.ln());
        let count = rng.random_range(1..=MOST_EDITS);
        let Some((mut edits, mut network)) = self.step(start, count, rng)? else { return Ok(None) };
        for _ in 0..MOST_CORRECTIONS {
            let distance = self.sizes.distance(&network, target);
            if distance < CLOSE {
                break;
            }
            if let Some((edit, next)) = self.edit(&network, rng)?
                && self.sizes.distance(&next, target) < distance
            {
                edits.push(edit);
                network = next;
            }
        }
        Ok(Some((edits, network)))
    }

    fn step(&self, from: &Architecture, count: usize, rng: &mut ChaCha8Rng) -> Result<Option<Change<Self>>> {
        let (mut edits, mut architecture) = (Vec::new(), from.clone());
        for _ in 0..count {
            if let Some((edit, next)) = self.edit(&architecture, rng)? {
                edits.push(edit);
                architecture = next;
            }
        }
        Ok((!edits.is_empty()).then_some((edits, architecture)))
    }

    fn stay(&self) -> Option<Edit> {
        Some(Edit::keep_training())
    }

    fn size(&self, design: &Architecture) -> f64 {
        design.parameter_count() as f64
    }

    fn price(&self, design: &Architecture) -> f64 {
        design.macs() as f64
    }
}

/// A small network by hand: a convolution block before each pooling and one after the last, twice as wide after the
/// first pooling, then global average pooling and a linear layer.
#[derive(Debug, Clone, Copy)]
struct Recipe {
    /// Channels of the first block.
    width: usize,
    /// Whether blocks after the first are depthwise-separable.
    separable: bool,
}

/// The initial population: four small networks, two of them of separable convolutions, as in LEMONADE (Elsken et
/// al., ICLR 2019, appendix), narrow and wide. Images too small to be pooled leave one block, which is never separable,
/// and so fewer different networks.
///
/// # Errors
/// If the images are too small for a convolution.
pub fn initial(input: Shape, classes: usize) -> Result<Vec<Architecture>> {
    let recipes = [(16, false), (32, false), (8, true), (16, true)];
    let mut networks: Vec<Architecture> = Vec::new();
    for (width, separable) in recipes {
        let network = build(input, classes, Recipe { width, separable })?;
        if !networks.iter().any(|other| other.is_isomorphic(&network)) {
            networks.push(network);
        }
    }
    Ok(networks)
}

fn build(input: Shape, classes: usize, recipe: Recipe) -> Result<Architecture> {
    let mut draft = Draft::new(input);
    let poolings = poolings(input.spatial().0.min(input.spatial().1));
    let (mut x, mut channels) = (draft.input(), input.channels());
    for block in 0..=poolings {
        let width = if block == 0 { recipe.width } else { 2 * recipe.width };
        let separable = recipe.separable && block > 0;
        x = if separable {
            separable_block(&mut draft, x, channels, width)
        } else {
            draft.conv_bn_relu(x, Conv::same(width, 3))
        };
        channels = width;
        if block < poolings {
            x = draft.max_pool(x, 2);
        }
    }
    draft.head(x, classes);
    Ok(draft.build()?)
}

fn poolings(size: usize) -> usize {
    (0..MOST_POOLINGS).take_while(|&done| size >> done >= POOLED_FROM).count()
}

fn separable_block(draft: &mut Draft, x: LayerId, channels: usize, width: usize) -> LayerId {
    let depthwise = draft.push(morphisms::Layer::Conv(Conv::depthwise(channels, 3)), &[x]);
    draft.conv_bn_relu(depthwise, Conv::same(width, 1))
}

/// The variant of `widen` whose copies nothing tells apart, and the one that it is a form of.
const TWINS: &str = "twins";
const COPIES: &str = "replicate";

/// A random edit of `architecture`, with the architecture it leads to: the morphism uniform over those that apply,
/// then the place uniform over its sites, done in the way that `variant` names, or else in the one that is listed first there. None
/// if nothing applies.
///
/// # Errors
/// If a morphism breaks its word that its sites can be rewritten.
pub fn random_edit(
    architecture: &Architecture,
    morphisms: &[&'static dyn Morphism],
    variant: &str,
    rng: &mut ChaCha8Rng,
) -> Result<Option<(Edit, Architecture)>> {
    let mut left = morphisms.to_vec();
    while !left.is_empty() {
        let morphism = left.swap_remove(rng.random_range(0..left.len()));
        let sites = morphism.sites(architecture);
        if let Some(place) = sites.choose(rng) {
            let same = |site: &&Site| (&site.layers, site.amount) == (&place.layers, place.amount);
            // Nobody offers copies that stay equal, but they can be had wherever there are copies.
            let offered = if variant == TWINS { COPIES } else { variant };
            let wanted = sites.iter().filter(same).find(|site| site.variant == offered);
            let site = match wanted {
                Some(site) => site.clone().variant(variant),
                None => sites.iter().find(same).unwrap_or(place).clone(),
            };
            let seed = rng.random::<u64>() >> 1; // within the whole numbers of TOML and SQLite
            let rewrite = morphism.rewrite(architecture, &site, seed)?;
            let edit = Edit { morphism: morphism.name().into(), site, seed };
            return Ok(Some((edit, rewrite.architecture)));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng;

    #[test]
    fn the_initial_networks_differ_and_are_small() {
        for input in [Shape::map(1, 8, 8), Shape::map(1, 28, 28), Shape::map(3, 32, 32), Shape::map(3, 5, 7)]
        {
            let networks = initial(input, 10).unwrap();
            let mut seen: Vec<_> = networks.iter().map(Architecture::fingerprint).collect();
            seen.sort_unstable();
            seen.dedup();
            let pooled = input.spatial().0 >= POOLED_FROM;
            assert_eq!((seen.len(), networks.len()), if pooled { (4, 4) } else { (3, 3) }, "{input}");
            assert!(
                networks.iter().all(|network| network.classes() == 10 && network.parameter_count() < 100_000)
            );
        }
    }

    #[test]
    fn random_networks_have_sizes_of_every_order_within_the_bounds() {
        let mut config = Config::default();
        config.max.insert("params".into(), 100_000.0);
        config.min.insert("params".into(), 1000.0);
        let space = Networks::new(&config, initial(Shape::map(1, 28, 28), 10).unwrap()).unwrap();
        let mut rng = rng::stream(3, "random", &[]);
        let mut sizes: Vec<f64> =
            (0..100).map(|_| space.random(&mut rng).unwrap().unwrap().1.parameter_count() as f64).collect();
        sizes.sort_by(f64::total_cmp);
        let deciles = [10, 30, 50, 70, 90].map(|place| sizes[place].log10());
        for (found, expected) in deciles.into_iter().zip([3.2, 3.6, 4.0, 4.4, 4.8]) {
            assert!((found - expected).abs() < 0.3, "{deciles:?}");
        }
    }

    #[test]
    fn a_variant_is_taken_where_it_is_offered() {
        let start = initial(Shape::map(1, 8, 8), 10).unwrap().remove(0);
        let mut rng = rng::stream(4, "variant", &[]);
        for (wanted, taken) in
            [("replicate", "replicate"), ("twins", "twins"), ("", "fresh"), ("unknown", "fresh")]
        {
            let widen = catalog::named("widen").unwrap();
            let (edit, _) = random_edit(&start, &[widen], wanted, &mut rng).unwrap().unwrap();
            assert_eq!(edit.site.variant, taken);
        }
    }

    #[test]
    fn random_edits_are_repeatable_and_reach_every_morphism() {
        let start = initial(Shape::map(1, 8, 8), 10).unwrap().remove(0);
        let walk = |seed| {
            let mut rng = rng::stream(seed, "walk", &[]);
            let mut architecture = start.clone();
            (0..8)
                .map(|_| {
                    let (edit, next) =
                        random_edit(&architecture, catalog::all(), "", &mut rng).unwrap().unwrap();
                    architecture = next;
                    edit
                })
                .collect::<Vec<_>>()
        };
        assert_eq!(walk(1), walk(1));
        let mut names: Vec<String> = (0..40).flat_map(walk).map(|edit| edit.morphism).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), catalog::all().len(), "{names:?}");
    }
}
