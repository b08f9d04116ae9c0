//! The public interface of the crate, kept in `public_api.txt`, so that a change of it is seen and meant:
//!
//!     UPDATE=1 cargo test --release -p morphisms --test public_api
//!
//! writes the file anew. The interface is read off the sources with `syn`: public items that public modules or
//! re-exports lead to, one a line, with their signatures, derives and implemented traits. The tools that ask the compiler
//! (cargo-public-api, cargo-semver-checks) read rustdoc's JSON, which needs a nightly compiler of the right week; this
//! works with any stable one, from a clean clone. What it cannot see, and this crate does not have: items that macros
//! make, and glob re-exports; either is an error here.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use syn::punctuated::Punctuated;
use syn::{Attribute, Fields, ImplItem, Item, ItemImpl, Meta, Token, TraitItem, UseTree, Visibility};

#[test]
fn the_public_interface_is_the_one_that_is_kept() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let found = interface(&root.join("src/lib.rs"));
    let path = root.join("tests/public_api.txt");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &found).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    let (kept_lines, found_lines): (BTreeSet<&str>, BTreeSet<&str>) =
        (kept.lines().collect(), found.lines().collect());
    let gone = kept_lines.difference(&found_lines).map(|line| format!("- {line}"));
    let new = found_lines.difference(&kept_lines).map(|line| format!("+ {line}"));
    let change: Vec<String> = gone.chain(new).collect();
    assert!(
        change.is_empty(),
        "the public interface is another than in tests/public_api.txt:\n{}\nIf that is meant: \
         UPDATE=1 cargo test --release -p morphisms --test public_api",
        change.join("\n")
    );
}

#[test]
fn items_are_found_where_they_are_public_and_nowhere_else() {
    let folder = std::env::temp_dir().join(format!("morphisms-interface-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let lib =
        "mod a; pub mod b; pub use a::{A as Other, f}; pub use elsewhere::E; mod hidden { pub fn g() {} }";
    let a = "#[derive(Debug, Clone)] pub struct A { pub x: u8, y: u8 }
        impl A { /// Doc.
            pub fn new(x: u8) -> Self { Self { x, y: 0 } } fn own(&self) {} pub(crate) fn ours(&self) {} }
        impl From<u8> for A { fn from(x: u8) -> Self { Self::new(x) } }
        pub fn f() {} pub fn unreachable() {} #[cfg(test)] pub fn test() {}";
    let b = "pub enum E { One(u8), Two { z: u8 } } pub trait T { const N: u8; fn t(&self) -> u8 { 0 } }";
    for (name, text) in [("lib.rs", lib), ("a.rs", a), ("b.rs", b)] {
        std::fs::write(folder.join(name), text).unwrap();
    }
    let found = interface(&folder.join("lib.rs"));
    std::fs::remove_dir_all(&folder).unwrap();
    let expected = [
        "derive Clone, Debug for morphisms::Other",
        "impl From<u8> for morphisms::Other",
        "morphisms::Other: pub struct A { /* more */ }",
        "morphisms::Other::new: pub fn new(x: u8) -> Self",
        "morphisms::Other::x: pub u8",
        "morphisms::b: pub mod b",
        "morphisms::b::E: pub enum E",
        "morphisms::b::E::One: (u8)",
        "morphisms::b::E::Two: { z: u8 }",
        "morphisms::b::T: pub trait T",
        "morphisms::b::T::N: const N: u8",
        "morphisms::b::T::t: fn t(&self) -> u8 (provided)",
        "morphisms::f: pub fn f()",
        "pub use elsewhere::E",
    ];
    assert_eq!(found.lines().collect::<Vec<_>>(), expected);
}

/// The interface of the crate with this root, a line an item, in order.
fn interface(lib: &Path) -> String {
    let mut modules = BTreeMap::new();
    read(&mut modules, Vec::new(), lib, lib.parent().unwrap());
    let mut walk = Walk { modules: &modules, lines: BTreeSet::new() };
    walk.module(&[], "morphisms");
    walk.lines.into_iter().map(|line| line + "\n").collect()
}

/// Reads a file and the modules that it names, which lie in `folder`; their items go to `modules`, by path.
fn read(modules: &mut BTreeMap<Vec<String>, Vec<Item>>, path: Vec<String>, file: &Path, folder: &Path) {
    let text = std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let items = syn::parse_file(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display())).items;
    add(modules, path, items, folder);
}

fn add(modules: &mut BTreeMap<Vec<String>, Vec<Item>>, path: Vec<String>, items: Vec<Item>, folder: &Path) {
    let items: Vec<Item> = items.into_iter().filter(|item| !is_for_tests(attributes(item))).collect();
    for item in &items {
        let Item::Mod(module) = item else { continue };
        let name = module.ident.to_string();
        let inner: Vec<String> = path.iter().cloned().chain([name.clone()]).collect();
        let below = folder.join(&name);
        match &module.content {
            Some((_, items)) => add(modules, inner, items.clone(), &below),
            None => {
                let files: [PathBuf; 2] = [folder.join(format!("{name}.rs")), below.join("mod.rs")];
                let file = files.iter().find(|file| file.exists()).expect("the module has a file");
                read(modules, inner, file, &below);
            }
        }
    }
    modules.insert(path, items);
}

/// Whether an item is there for tests of this crate alone.
fn is_for_tests(attributes: &[Attribute]) -> bool {
    let of = |attribute: &Attribute| match &attribute.meta {
        Meta::List(list) if list.path.is_ident("cfg") => {
            ["test", "doctest"].contains(&list.tokens.to_string().as_str())
        }
        _ => false,
    };
    attributes.iter().any(of)
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        _ => &[],
    }
}

/// The way from the root along what is public.
struct Walk<'a> {
    modules: &'a BTreeMap<Vec<String>, Vec<Item>>,
    lines: BTreeSet<String>,
}

impl Walk<'_> {
    /// What is public in the module `path`, called `name` from outside.
    fn module(&mut self, path: &[String], name: &str) {
        let modules = self.modules;
        for item in &modules[path] {
            assert!(!matches!(item, Item::Macro(_)), "{name}: a macro may make items that are not seen");
            match item {
                Item::Use(item) if is_public(&item.vis) => {
                    self.reexport(path, name, &item.tree, &mut Vec::new())
                }
                other => {
                    if let Some(ident) = identifier(other) {
                        self.item(path, other, &format!("{name}::{ident}"));
                    }
                }
            }
        }
    }

    /// `pub use` in the module `path`; `prefix` is what was read of the tree so far.
    fn reexport(&mut self, path: &[String], name: &str, tree: &UseTree, prefix: &mut Vec<String>) {
        match tree {
            UseTree::Path(inner) => {
                prefix.push(inner.ident.to_string());
                self.reexport(path, name, &inner.tree, prefix);
                prefix.pop();
            }
            UseTree::Group(group) => {
                group.items.iter().for_each(|tree| self.reexport(path, name, tree, prefix));
            }
            UseTree::Name(leaf) => {
                let ident = leaf.ident.to_string();
                self.reexported(path, prefix, &ident, &format!("{name}::{ident}"));
            }
            UseTree::Rename(leaf) => {
                self.reexported(path, prefix, &leaf.ident.to_string(), &format!("{name}::{}", leaf.rename));
            }
            _ => panic!("{name}: a glob re-export may make items public that are not seen"),
        }
    }

    /// The item `ident` behind `prefix`, called `public` from outside.
    fn reexported(&mut self, path: &[String], prefix: &[String], ident: &str, public: &str) {
        let modules = self.modules;
        let module: Vec<String> = match prefix.split_first() {
            Some((first, rest)) if first == "crate" => rest.to_vec(),
            Some((first, rest)) if first == "self" => [path, rest].concat(),
            Some((first, rest)) if first == "super" => [&path[..path.len() - 1], rest].concat(),
            _ => [path, prefix].concat(),
        };
        let Some(items) = modules.get(&module) else {
            self.lines.insert(format!("pub use {}::{ident}", prefix.join("::")));
            return;
        };
        match items.iter().find(|item| identifier(item).as_deref() == Some(ident)) {
            Some(item) => self.item(&module, item, public),
            // It is re-exported there from a module further in.
            None => self.through(&module, items, ident, public),
        }
    }

    fn through(&mut self, module: &[String], items: &[Item], ident: &str, public: &str) {
        let parent = public.rsplit_once("::").map_or("", |(parent, _)| parent).to_string();
        for item in items {
            let Item::Use(item) = item else { continue };
            for (prefix, leaf) in leaves(&item.tree) {
                if leaf == ident {
                    self.reexported(module, &prefix, ident, &format!("{parent}::{ident}"));
                }
            }
        }
    }

    fn item(&mut self, path: &[String], item: &Item, public: &str) {
        let ident = identifier(item).unwrap_or_default();
        match item {
            Item::Const(item) if is_public(&item.vis) => {
                self.line(public, &format!("pub const {ident}: {}", text_of_type(&item.ty)));
            }
            Item::Fn(item) if is_public(&item.vis) => {
                self.line(public, &format!("pub {}", text_of_signature(&item.sig)));
            }
            Item::Type(item) if is_public(&item.vis) => {
                self.line(public, &text_of_item(Item::Type(item.clone())));
            }
            Item::Mod(module) if is_public(&module.vis) => {
                self.line(public, &format!("pub mod {ident}"));
                self.module(&[path, &[ident]].concat(), public);
            }
            Item::Struct(item) if is_public(&item.vis) => {
                let generics = text_of_generics(&item.generics);
                let hidden = item.fields.iter().any(|field| !is_public(&field.vis));
                let more = if hidden { " { /* more */ }" } else { "" };
                self.line(public, &format!("pub struct {ident}{generics}{more}"));
                for (place, field) in
                    item.fields.iter().enumerate().filter(|(_, field)| is_public(&field.vis))
                {
                    let name = field.ident.as_ref().map_or(place.to_string(), ToString::to_string);
                    self.line(&format!("{public}::{name}"), &format!("pub {}", text_of_type(&field.ty)));
                }
                self.implementations(&ident, &item.attrs, public);
            }
            Item::Enum(item) if is_public(&item.vis) => {
                self.line(public, &format!("pub enum {ident}{}", text_of_generics(&item.generics)));
                for variant in &item.variants {
                    self.line(&format!("{public}::{}", variant.ident), &text_of_fields(&variant.fields));
                }
                self.implementations(&ident, &item.attrs, public);
            }
            Item::Trait(item) if is_public(&item.vis) => {
                let supertraits = text_of_bounds(&item.supertraits);
                self.line(public, &format!("pub trait {ident}{supertraits}"));
                item.items.iter().for_each(|item| self.required(item, public));
            }
            _ => {}
        }
    }

    fn required(&mut self, item: &TraitItem, public: &str) {
        match item {
            TraitItem::Fn(item) => {
                let provided = if item.default.is_some() { " (provided)" } else { "" };
                let signature = text_of_signature(&item.sig);
                self.line(&format!("{public}::{}", item.sig.ident), &format!("{signature}{provided}"));
            }
            TraitItem::Const(item) => {
                let text = format!("const {}: {}", item.ident, text_of_type(&item.ty));
                self.line(&format!("{public}::{}", item.ident), &text);
            }
            TraitItem::Type(item) => {
                self.line(&format!("{public}::{}", item.ident), &format!("type {}", item.ident));
            }
            _ => panic!("{public}: something in a trait that cannot be read"),
        }
    }

    /// Derives, and `impl` blocks anywhere in the crate.
    fn implementations(&mut self, ident: &str, attributes: &[Attribute], public: &str) {
        let mut derived: Vec<String> = attributes.iter().flat_map(derives).collect();
        derived.sort_unstable();
        if !derived.is_empty() {
            self.lines.insert(format!("derive {} for {public}", derived.join(", ")));
        }
        let modules = self.modules;
        let blocks = modules.values().flatten().filter_map(|item| match item {
            Item::Impl(block) if text_of_type(&block.self_ty).split('<').next() == Some(ident) => Some(block),
            _ => None,
        });
        blocks.for_each(|block| self.block(block, public));
    }

    fn block(&mut self, block: &ItemImpl, public: &str) {
        if block.trait_.is_some() {
            let mut text =
                text_of_item(Item::Impl(ItemImpl { items: Vec::new(), attrs: Vec::new(), ..block.clone() }));
            text.truncate(text.find(" for ").expect("an implementation of a trait"));
            self.lines.insert(format!("{text} for {public}"));
            return;
        }
        for item in &block.items {
            match item {
                ImplItem::Fn(item) if is_public(&item.vis) && !is_for_tests(&item.attrs) => {
                    let text = format!("pub {}", text_of_signature(&item.sig));
                    self.line(&format!("{public}::{}", item.sig.ident), &text);
                }
                ImplItem::Const(item) if is_public(&item.vis) => {
                    let text = format!("pub const {}: {}", item.ident, text_of_type(&item.ty));
                    self.line(&format!("{public}::{}", item.ident), &text);
                }
                _ => {}
            }
        }
    }

    fn line(&mut self, public: &str, text: &str) {
        self.lines.insert(format!("{public}: {text}"));
    }
}

fn is_public(visibility: &Visibility) -> bool {
    matches!(visibility, Visibility::Public(_))
}

fn identifier(item: &Item) -> Option<String> {
    let ident = match item {
        Item::Const(item) => &item.ident,
        Item::Enum(item) => &item.ident,
        Item::Fn(item) => &item.sig.ident,
        Item::Mod(item) => &item.ident,
        Item::Struct(item) => &item.ident,
        Item::Trait(item) => &item.ident,
        Item::Type(item) => &item.ident,
        _ => return None,
    };
    Some(ident.to_string())
}

/// The names that a `use` brings in, each with what stands before it.
fn leaves(tree: &UseTree) -> Vec<(Vec<String>, String)> {
    match tree {
        UseTree::Path(path) => {
            let behind = |(mut prefix, leaf): (Vec<String>, String)| {
                prefix.insert(0, path.ident.to_string());
                (prefix, leaf)
            };
            leaves(&path.tree).into_iter().map(behind).collect()
        }
        UseTree::Group(group) => group.items.iter().flat_map(leaves).collect(),
        UseTree::Name(leaf) => vec![(Vec::new(), leaf.ident.to_string())],
        _ => Vec::new(),
    }
}

fn derives(attribute: &Attribute) -> Vec<String> {
    if !attribute.path().is_ident("derive") {
        return Vec::new();
    }
    let paths = attribute.parse_args_with(Punctuated::<syn::Path, Token![,]>::parse_terminated);
    let last = |path: &syn::Path| path.segments.last().map(|segment| segment.ident.to_string());
    paths.expect("derives are paths").iter().filter_map(last).collect()
}

/// An item on one line.
fn text_of_item(item: Item) -> String {
    let file = syn::File { shebang: None, frontmatter: None, attrs: Vec::new(), items: vec![item] };
    let words: Vec<String> = prettyplease::unparse(&file).split_whitespace().map(String::from).collect();
    let text = words.join(" ");
    let text = text.replace("( ", "(").replace(", )", ")").replace("< ", "<").replace(", >", ">");
    text.trim_end_matches([';', ' ']).to_string()
}

fn text_of_type(of: &syn::Type) -> String {
    let item: syn::ItemType = syn::parse_quote!(type T = #of;);
    text_of_item(Item::Type(item)).trim_start_matches("type T = ").to_string()
}

fn text_of_signature(signature: &syn::Signature) -> String {
    let item: syn::ItemFn = syn::parse_quote!(#signature {});
    // Whether a function changes its own copy is its own business.
    text_of_item(Item::Fn(item)).trim_end_matches("{}").trim_end().replace("(mut self", "(self")
}

fn text_of_generics(generics: &syn::Generics) -> String {
    let item: syn::ItemStruct = syn::parse_quote!(struct S #generics;);
    text_of_item(Item::Struct(item)).trim_start_matches("struct S").to_string()
}

fn text_of_bounds(bounds: &Punctuated<syn::TypeParamBound, Token![+]>) -> String {
    if bounds.is_empty() {
        return String::new();
    }
    let item: syn::ItemTrait = syn::parse_quote!(trait S: #bounds {});
    text_of_item(Item::Trait(item))
        .trim_start_matches("trait S")
        .trim_end_matches("{}")
        .trim_end()
        .to_string()
}

/// The fields of a variant.
fn text_of_fields(fields: &Fields) -> String {
    let named = |field: &syn::Field| field.ident.as_ref().map(|name| format!("{name}: ")).unwrap_or_default();
    let each: Vec<String> = fields.iter().map(|f| named(f) + &text_of_type(&f.ty)).collect();
    match fields {
        Fields::Named(_) => format!("{{ {} }}", each.join(", ")),
        Fields::Unnamed(_) => format!("({})", each.join(", ")),
        Fields::Unit => "unit".to_string(),
    }
}
