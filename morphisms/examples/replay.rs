//! A child without its weights: `cargo run --release -p morphisms --example replay`
//!
//! What a child inherits is plain data. Here it is resolved against the parent, stored as JSON, and replayed by a reader
//! that has the stored parent only, to the same bytes.

use morphisms::{Architecture, Inheritance, Network, Rewrite, Shape, Source, catalog, check};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> Result<()> {
    let folder = std::env::temp_dir().join(format!("morphisms-replay-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let child = here(&folder)?;
    let replayed = elsewhere(&folder)?;
    std::fs::remove_dir_all(&folder)?;
    assert_eq!(replayed, child);
    println!("Replayed from the stored parent: the same {} bytes of weights.", child.len());
    Ok(())
}

/// Makes a child in two steps, stores the parent and what the child inherits, and returns the child's bytes.
fn here(folder: &std::path::Path) -> Result<Vec<u8>> {
    let parent =
        Network::builder(Shape::map(1, 8, 8)).conv_bn_relu(4, 3).conv_bn_relu(8, 3).head(3).init(0)?;
    parent.save(folder.join("parent"))?;
    let images = check::images(parent.architecture().input(), 16, 0, parent.dtype())?;

    // Which channels are pruned depends on the parent's numbers, so the rewrite says "the best two" until it is resolved.
    let pruned = first("prune", parent.architecture())?;
    let step = pruned.inheritance.resolve(&parent, None)?;
    let middle = parent.child(&pruned, None)?;
    // What calibrates the inserted batch norm depends on a batch.
    let deeper = first("deepen", middle.architecture())?;
    let both = step.then(&deeper.inheritance.resolve(&middle, Some(&images))?)?;
    println!(
        "{} parameters are as the parent has them, others are not:",
        both.kept(parent.architecture()).count()
    );
    for (key, source) in &both.sources {
        println!("  {:<12} {}", key.to_string(), describe(source));
    }
    std::fs::write(folder.join("inheritance.json"), serde_json::to_string(&both)?)?;
    deeper.architecture.save(folder.join("child.json"))?;
    Ok(middle.child(&deeper, Some(&images))?.weights().to_safetensors()?)
}

/// Makes the child from files alone.
fn elsewhere(folder: &std::path::Path) -> Result<Vec<u8>> {
    let parent = Network::load(folder.join("parent"))?;
    let text = std::fs::read_to_string(folder.join("inheritance.json"))?;
    println!("The inheritance takes {} bytes of JSON.", text.len());
    let inheritance: Inheritance = serde_json::from_str(&text)?;
    let weights = inheritance.apply(parent.weights(), parent.dtype(), &parent.device())?;
    let child = Network::new(Architecture::load(folder.join("child.json"))?, weights)?;
    Ok(child.weights().to_safetensors()?)
}

fn first(name: &str, architecture: &Architecture) -> Result<Rewrite> {
    let morphism = catalog::named(name).ok_or("not in the catalogue")?;
    let sites = morphism.sites(architecture);
    Ok(morphism.rewrite(architecture, sites.first().ok_or("nowhere to apply")?, 0)?)
}

/// A source in a few words.
fn describe(source: &Source) -> String {
    let text = serde_json::to_string(source).unwrap_or_default();
    match text.char_indices().nth(70) {
        Some((end, _)) => format!("{} ...", &text[..end]),
        None => text,
    }
}
