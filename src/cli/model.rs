//! `inspect` and `morph`: networks in files, looked at and rewritten by hand.

use std::path::Path;

use comfy_table::{Cell, CellAlignment};
use morphisms::check::{drift, images};
use morphisms::onnx::{ExportOptions, ImportOptions};
use morphisms::{Architecture, Channels, Morphism, Network, Promise, Site, Tie, catalog};
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;

use super::show::table;
use super::{InspectArgs, ModelArg, MorphArgs, print};
use crate::model::Model;
use crate::store::write_atomically;
use crate::{Error, Result, objective, overview, report, rng};

/// Images on which a drift is measured.
const IMAGES: usize = 4;

impl ModelArg {
    fn load(&self) -> Result<Model> {
        let options = ImportOptions {
            input: self.input_shape,
            output: self.output.clone(),
            ..ImportOptions::default()
        };
        Model::load(&self.model, &options)
    }
}

/// What a model does beside the network.
fn notes(model: &Model) -> Vec<&'static str> {
    let notes = [
        (model.options.softmax, "a softmax at the end is not a part of the network"),
        (model.options.channels_last, "the model takes images with their channels last"),
    ];
    notes.into_iter().filter(|(holds, _)| *holds).map(|(_, note)| note).collect()
}

pub(super) fn inspect(args: &InspectArgs) -> Result<()> {
    let model = args.model.load()?;
    let architecture = model.network.architecture();
    print(&format!("{}\n", layers(architecture)))?;
    print(&format!("{}\n", costs(architecture)))?;
    for note in notes(&model) {
        print(&format!("Note: {note}.\n"))?;
    }
    print(&format!("\nChannel groups: channels that change together\n{}\n", groups(architecture)))?;
    print(&format!("\nMorphisms that apply\n{}\n", applicable(architecture)))?;
    match &args.draw {
        Some(path) => draw(architecture, path),
        None => Ok(()),
    }
}

fn right(text: impl ToString) -> Cell {
    Cell::new(text).set_alignment(CellAlignment::Right)
}

fn layers(architecture: &Architecture) -> String {
    let mut table = table();
    table.set_header(["layer", "what", "reads", "output", "parameters", "multiply-adds"]);
    for node in architecture.nodes() {
        let reads: Vec<String> = node.inputs.iter().map(ToString::to_string).collect();
        let count = |count: u64| if count == 0 { right("") } else { right(count) };
        table.add_row([
            right(node.id),
            Cell::new(node.layer),
            Cell::new(reads.join(", ")),
            right(node.shape),
            count(architecture.layer_parameter_count(node)),
            count(node.layer.macs(&architecture.input_shape(node), &node.shape)),
        ]);
    }
    table.to_string()
}

fn costs(architecture: &Architecture) -> String {
    let cost = |objective: &objective::Objective| match objective.kind {
        objective::Kind::Counted(count) => {
            let value = report::format_value(objective.unit, count(architecture));
            Some(format!("{} {value}", objective.name.replace('_', " ")))
        }
        objective::Kind::Measured(_) | objective::Kind::Trained => None,
    };
    let costs: Vec<String> = objective::ALL.iter().filter_map(cost).collect();
    let (layers, classes) = (architecture.nodes().len(), architecture.classes());
    format!("{layers} layers, images of {}, {classes} classes; {}", architecture.input(), costs.join(", "))
}

fn groups(architecture: &Architecture) -> String {
    let mut table = table();
    table.set_header(["group", "channels", "made by", "followed by", "read by", "remarks"]);
    for group in Channels::of(architecture).groups {
        let of = |pick: fn(Tie) -> bool| {
            let layers = group.ties.iter().filter(|(_, tie)| pick(*tie));
            layers.map(|(layer, _)| layer.to_string()).collect::<Vec<_>>().join(", ")
        };
        let mut remarks = Vec::new();
        if group.blocks > 1 {
            remarks.push(format!("in {} blocks", group.blocks));
        }
        if group.even {
            remarks.push("grow by whole copies".to_string());
        }
        table.add_row([
            right(group.name()),
            right(group.channels),
            Cell::new(of(|tie| tie == Tie::Makes)),
            Cell::new(of(|tie| tie == Tie::Follows)),
            Cell::new(of(|tie| matches!(tie, Tie::Reads | Tie::ReadsInBlocks { .. }))),
            Cell::new(remarks.join(", ")),
        ]);
    }
    table.to_string()
}

fn applicable(architecture: &Architecture) -> String {
    let mut table = table();
    table.set_header(["morphism", "promise", "places", "the first"]);
    for morphism in catalog::all() {
        let sites = morphism.sites(architecture);
        let promise = match morphism.promise() {
            Promise::Exact => "exact",
            Promise::Approximate => "approximate",
        };
        let first = sites.first().map_or_else(String::new, Site::to_string);
        table.add_row([Cell::new(morphism.name()), Cell::new(promise), right(sites.len()), Cell::new(first)]);
    }
    table.to_string()
}

fn draw(architecture: &Architecture, path: &Path) -> Result<()> {
    let svg = report::draw_svg(&overview::layers(architecture));
    match path.extension().and_then(|ending| ending.to_str()) {
        Some("svg") => write_atomically(path, svg.as_bytes())?,
        Some("png") => write_atomically(path, &report::render_png(&svg)?)?,
        _ => {
            return Err(Error::Usage(format!(
                "{}: expected a name that ends in .svg or .png",
                path.display()
            )));
        }
    }
    print(&format!("Drawn in {}\n", path.display()))
}

pub(super) fn morph(args: &MorphArgs) -> Result<()> {
    let named = args.morphisms.iter().map(|name| named(name)).collect::<Result<Vec<_>>>()?;
    let model = args.model.load()?;
    let parent = &model.network;
    if let (None, [], [first, ..]) = (args.random, args.sites.as_slice(), named.as_slice()) {
        return list_sites(parent.architecture(), *first);
    }
    let steps = match args.random {
        Some(count) => count,
        None if named.is_empty() => {
            return Err(Error::Usage("which morphism? `paretomorph morphisms` lists them".into()));
        }
        None if args.sites.len() != named.len() => {
            let (expected, found) = (named.len(), args.sites.len());
            return Err(Error::Usage(format!(
                "--site: expected one for each of {expected} morphisms, found {found}"
            )));
        }
        None => named.len(),
    };
    let batch = images(parent.architecture().input(), IMAGES, args.seed, parent.dtype())?;
    let mut rng = rng::stream(args.seed, "morph", &[]);
    let mut network = parent.clone();
    for step in 0..steps {
        let (morphism, site, place) = match args.random {
            Some(_) => random_site(network.architecture(), &named, args.exact, &mut rng)?,
            None => chosen_site(network.architecture(), named[step], args.sites[step])?,
        };
        let rewrite = morphism.rewrite(network.architecture(), &site, args.seed.wrapping_add(step as u64))?;
        let child = network.child(&rewrite, None)?;
        let moved = drift(&network, &child, &batch)?;
        print(&format!(
            "{}. {} at {site} (site {place}): drift {:.1e} of the largest logit\n",
            step + 1,
            morphism.name(),
            moved.relative
        ))?;
        network = child;
    }
    let moved = drift(parent, &network, &batch)?;
    print(&format!(
        "From {}\n  to {}\nDrift over all: {:.1e} of the largest logit, on {IMAGES} random images\n",
        costs(parent.architecture()),
        costs(network.architecture()),
        moved.relative
    ))?;
    for note in notes(&model) {
        print(&format!("Note: {note}; it is kept in the file written.\n"))?;
    }
    match &args.out {
        Some(path) => write(&network, &model.options, path),
        None => Ok(()),
    }
}

fn named(name: &str) -> Result<&'static dyn Morphism> {
    let unknown = || {
        let known: Vec<&str> = catalog::all().iter().map(|morphism| morphism.name()).collect();
        Error::Usage(format!("unknown morphism `{name}`; known: {}", known.join(", ")))
    };
    catalog::named(name).ok_or_else(unknown)
}

fn list_sites(architecture: &Architecture, morphism: &dyn Morphism) -> Result<()> {
    let mut table = table();
    table.set_header(["--site", "layers", "amount", "variant"]);
    for (place, site) in morphism.sites(architecture).iter().enumerate() {
        let layers: Vec<String> = site.layers.iter().map(ToString::to_string).collect();
        let amount = if site.amount == 0 { String::new() } else { site.amount.to_string() };
        table.add_row([right(place), Cell::new(layers.join(" → ")), right(amount), Cell::new(&site.variant)]);
    }
    print(&format!("Where {} applies\n{table}\n", morphism.name()))
}

type Chosen = (&'static dyn Morphism, Site, usize);

fn chosen_site(architecture: &Architecture, morphism: &'static dyn Morphism, place: usize) -> Result<Chosen> {
    let sites = morphism.sites(architecture);
    let missing = || match sites.len() {
        0 => Error::Usage(format!("{} applies nowhere in this network", morphism.name())),
        n => {
            let last = n - 1;
            Error::Usage(format!("--site {place}: {} has the sites 0 to {last}", morphism.name()))
        }
    };
    let site = sites.get(place).ok_or_else(missing)?;
    Ok((morphism, site.clone(), place))
}

/// A morphism uniform over those that apply, at a place uniform over its sites.
fn random_site(
    architecture: &Architecture,
    named: &[&'static dyn Morphism],
    exact: bool,
    rng: &mut ChaCha8Rng,
) -> Result<Chosen> {
    let from = if named.is_empty() { catalog::all() } else { named };
    let wanted = |morphism: &&&dyn Morphism| !exact || morphism.promise() == Promise::Exact;
    let of = |morphism: &&'static dyn Morphism| (*morphism, morphism.sites(architecture));
    let applicable: Vec<_> =
        from.iter().filter(wanted).map(of).filter(|(_, sites)| !sites.is_empty()).collect();
    let (morphism, sites) =
        applicable.choose(rng).ok_or_else(|| Error::Usage("no morphism applies to this network".into()))?;
    let places: Vec<usize> = (0..sites.len()).collect();
    let place = places.choose(rng).copied().unwrap_or(0);
    Ok((*morphism, sites[place].clone(), place))
}

fn write(network: &Network, options: &ExportOptions, path: &Path) -> Result<()> {
    match path.extension().is_some_and(|ending| ending == "onnx") {
        true => network.save_onnx(path, options)?,
        false => network.save(path)?,
    }
    print(&format!("Wrote {}\n", path.display()))
}
