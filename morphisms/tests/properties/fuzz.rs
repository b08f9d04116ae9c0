//! The fuzzer finds what is broken, makes it small, and finds nothing in the catalogue.

use candle_core::{DType, Device};
use morphisms::fuzz::{Failure, Replayed, Settings, Summary, replay, run, run_edits, shrink};
use morphisms::strategies::Edit;
use morphisms::{
    Architecture, Index, Morphism, ParamKey, Promise, Result, Rewrite, Role, Site, Source, catalog,
};

/// A morphism of the catalogue whose rewrites are tampered with.
struct Broken {
    of: &'static str,
    change: fn(&Architecture, &mut Rewrite),
}

impl Broken {
    fn inner(&self) -> &'static dyn Morphism {
        catalog::named(self.of).unwrap()
    }
}

impl Morphism for Broken {
    fn name(&self) -> &'static str {
        "broken"
    }

    fn summary(&self) -> &'static str {
        "breaks a promise"
    }

    fn promise(&self) -> Promise {
        self.inner().promise()
    }

    fn sites(&self, architecture: &Architecture) -> Vec<Site> {
        self.inner().sites(architecture)
    }

    fn rewrite(&self, architecture: &Architecture, site: &Site, seed: u64) -> Result<Rewrite> {
        let mut rewrite = self.inner().rewrite(architecture, site, seed)?;
        (self.change)(architecture, &mut rewrite);
        Ok(rewrite)
    }
}

/// The first failure among the catalogue and a broken morphism, shrunk.
fn found(broken: &'static Broken) -> (Settings, Failure) {
    let mut settings = Settings::default();
    settings.morphisms.push(broken);
    let failing = (0..200).find(|&index| run(&settings, 7, index).is_err()).expect("a broken promise");
    let failure = shrink(&settings, 7, failing).unwrap();
    (settings, failure)
}

/// A failure whose network has at most so many layers, after at most so many edits; it replays, through JSON too.
#[track_caller]
fn assert_small(broken: &'static Broken, layers: usize, edits: usize, problem: &str) {
    let (settings, failure) = found(broken);
    assert!(failure.morphism == "broken" && failure.problem.contains(problem), "{failure}");
    let size = (failure.case.architecture.nodes().len(), failure.case.edits.len());
    assert!(size.0 <= layers && size.1 <= edits, "{size:?}: {}", failure.to_json().unwrap());
    let read: Failure = serde_json::from_str(&failure.to_json().unwrap()).unwrap();
    assert_eq!(read, failure);
    let again = replay(&read.case, &settings.morphisms, &Device::Cpu).unwrap();
    assert!(again.is_same_as(&failure), "{again:?} is not {failure}");
}

/// The parameters with this role that only the child has.
fn fresh(parent: &Architecture, rewrite: &Rewrite, role: Role) -> Vec<ParamKey> {
    let keys = rewrite.inheritance.sources.keys().copied();
    keys.filter(|key| key.role == role && parent.get(key.layer).is_none()).collect()
}

#[test]
fn a_skip_that_replaces_what_it_skips() {
    static SKIP: Broken = Broken {
        of: "skip_add",
        change: |parent, rewrite| {
            for key in fresh(parent, rewrite, Role::Lambda) {
                rewrite.inheritance.set(key.layer, key.role, Source::Constant { shape: vec![1], value: 1.0 });
            }
        },
    };
    assert_small(&SKIP, 8, 1, "the logits differ by");
}

#[test]
fn an_impulse_off_the_centre() {
    static DEEPEN: Broken = Broken {
        of: "deepen",
        change: |parent, rewrite| {
            for key in fresh(parent, rewrite, Role::Weight) {
                let shift = |source| match source {
                    Source::Dirac { channels, kernel: (height, width) } if height * width > 1 => {
                        let shape = vec![channels, channels, height, width];
                        let mut values = vec![0.0; shape.iter().product()];
                        let area = height * width;
                        (0..channels).for_each(|c| values[(c * channels + c) * area + area / 2 - 1] = 1.0);
                        Source::Values { shape, values }
                    }
                    other => other,
                };
                rewrite.inheritance.change(key, shift);
            }
        },
    };
    assert_small(&DEEPEN, 8, 1, "the logits differ by");
}

#[test]
fn a_drift_that_shows_only_in_a_chain() {
    static CREEP: Broken = Broken {
        of: "widen",
        change: |parent, rewrite| {
            *rewrite = Rewrite {
                architecture: parent.clone(),
                inheritance: morphisms::Inheritance::keep(parent, parent),
            };
            let (output, classes) = (parent.output(), parent.classes());
            for (key, _) in parent.parameters().into_iter().filter(|(key, _)| key.layer == output) {
                let scale = Some(vec![1.0 + 6e-11; classes]);
                let index = Index::Fixed((0..classes).collect());
                let of = Box::new(Source::Parent(key));
                rewrite.inheritance.set(key.layer, key.role, Source::Gather { of, axis: 0, index, scale });
            }
        },
    };
    assert_small(&CREEP, 10, 2, "after 2 exact edits the logits differ by");
}

#[test]
fn a_copy_of_what_could_be_shared() {
    static COPY: Broken = Broken {
        of: "widen",
        change: |parent, rewrite| {
            let kept: Vec<ParamKey> = rewrite.inheritance.kept(parent).collect();
            for key in kept {
                let index = (0..parent.parameters()[&key][0]).collect();
                rewrite.inheritance.change(key, |source| source.gather(0, index, None));
            }
        },
    };
    assert_small(&COPY, 9, 1, "does not share the parent's storage");
}

#[test]
fn an_approximate_child_that_costs_as_much() {
    static IDLE: Broken = Broken {
        of: "drop_layer",
        change: |parent, rewrite| {
            *rewrite = Rewrite {
                architecture: parent.clone(),
                inheritance: morphisms::Inheritance::keep(parent, parent),
            };
        },
    };
    assert_small(&IDLE, 8, 1, "must cost less");
}

#[test]
fn a_panic_is_a_failure() {
    static PANIC: Broken = Broken {
        of: "widen",
        change: |parent, _| assert!(parent.nodes().len() < 4, "there are {} layers", parent.nodes().len()),
    };
    assert_small(&PANIC, 6, 1, "it panics: there are");
}

/// No failure in so many cases, and every morphism was tried.
#[track_caller]
fn assert_clean(settings: &Settings, cases: u64) -> Summary {
    let mut summary = Summary::default();
    for index in 0..cases {
        match run(settings, 2019, index) {
            Ok(record) => summary.add(index, &record),
            Err(_) => panic!("{}", shrink(settings, 2019, index).unwrap().to_json().unwrap()),
        }
    }
    assert_eq!(summary.morphisms.len(), settings.morphisms.len());
    summary
}

#[test]
fn nothing_is_found_in_the_catalogue_in_f64() {
    let summary = assert_clean(&Settings::default(), 300);
    for morphism in catalog::all() {
        let tally = &summary.morphisms[morphism.name()];
        assert_eq!(tally.share.is_some(), morphism.promise() == Promise::Exact);
        assert!(tally.share.is_none_or(|share| share.value <= 1.0) && !tally.layers.is_empty(), "{tally:?}");
        assert_eq!(tally.decades.none + tally.decades.counts.values().sum::<u64>(), tally.rewrites);
    }
}

#[test]
fn nothing_is_found_in_the_catalogue_in_f32() {
    assert_clean(&Settings { dtype: DType::F32, ..Settings::default() }, 100);
}

#[test]
fn nothing_is_found_in_the_catalogue_in_training_mode() {
    assert_clean(&Settings { train_mode: true, ..Settings::default() }, 200);
}

#[test]
fn a_case_is_a_function_of_seed_and_index() {
    let steps = |seed, index| {
        let record = run(&Settings::default(), seed, index).unwrap();
        record.steps.into_iter().map(|step| (step.morphism, step.drift.to_bits())).collect::<Vec<_>>()
    };
    assert_eq!(steps(1, 2), steps(1, 2));
    assert!(steps(1, 2) != steps(1, 4) && steps(1, 2) != steps(2, 2));
}

#[test]
fn what_a_case_needs_and_has_not_is_named() {
    static SKIP: Broken = Broken { of: "skip_add", change: |_, _| panic!("so be it") };
    let (_, failure) = found(&SKIP);
    let unknown = replay(&failure.case, catalog::all(), &Device::Cpu).unwrap_err().to_string();
    assert!(unknown.contains("expected one of deepen") && unknown.contains("found `broken`"), "{unknown}");
    let mut mended = failure.case;
    mended.edits[0].morphism = "skip_add".into();
    assert_eq!(replay(&mended, catalog::all(), &Device::Cpu).unwrap(), Replayed::Passes);
    mended.edits[0].site.amount = 77;
    let gone = replay(&mended, catalog::all(), &Device::Cpu).unwrap();
    assert!(matches!(gone, Replayed::NoSite { .. }), "{gone:?}");
}

/// Found by `fuzz/fuzz_targets/edits.rs`: after `prune` on a batch of eight, batch norms magnify rounding by five orders of
/// magnitude in evaluation mode, and a child that is right differs by more than 1e-10.
#[test]
fn a_network_that_magnifies_rounding_is_no_finding() {
    assert_is_no_finding(
        "0025406f94b9de03f7294d7297bce1062b50759a40bfe4092e53789dc2e70c31567ba0c5ea0f34597ea3c8ed\
        12375c81a6cbf0153a5f84a900000000cef3183d6287acd1f61b38406582afd4f91e43688db2d7fc21466b",
    );
}

/// Found by `fuzz/fuzz_targets/edits.rs`: approximate morphisms leave constants, five batch norms magnify each other's rounding, and a
/// widened child that is right differs by 6e-4 of the largest logit.
#[test]
fn a_network_of_constants_is_no_finding() {
    assert_is_no_finding(
        "00254a6f94b953789dc2e70000000000000000000000000000000000000000de03284d0697bce10068797065\
        bfe49868000000fd97bce10068797065bfe498192efdfdfdfdfdfdfdfdfdfdfdfd5a0000005481a6cbf0153a5f84438f6f94b9de03b21ed7fc21466b",
    );
}

/// Runs an input of `fuzz/fuzz_targets/edits.rs`, in hexadecimal digits.
fn assert_is_no_finding(input: &str) {
    let digits: Vec<u8> = input.bytes().map(|digit| (digit as char).to_digit(16).unwrap() as u8).collect();
    let bytes: Vec<u8> = digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect();
    let (seed, rest) = bytes.split_first_chunk::<8>().unwrap();
    let number = |bytes: &[u8; 6], at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
    let edit = |bytes: &[u8; 6]| Edit::from([0, 2, 4].map(|at| number(bytes, at)));
    let edits: Vec<Edit> = rest.as_chunks::<6>().0.iter().take(16).map(edit).collect();
    let settings = Settings { train_mode: true, ..Settings::default() };
    let record = run_edits(&settings, u64::from_le_bytes(*seed), u64::from(seed[1]), &edits);
    assert!(record.is_ok(), "{}", record.err().unwrap());
}
