//! The report as a whole, on runs of every shape.

use super::*;

/// Runs that a report must survive.
fn runs() -> Vec<(&'static str, RunView)> {
    let sample = sample::run;
    let with = |change: &dyn Fn(&mut RunView)| {
        let mut view = sample();
        change(&mut view);
        view
    };
    vec![
        ("usual", sample()),
        ("empty", RunView::default()),
        ("nothing evaluated", with(&|view| view.individuals.clear())),
        (
            "one individual",
            with(&|view| {
                let best = view.front()[0].id;
                view.individuals.retain(|one| one.id == best);
            }),
        ),
        ("empty front", with(&|view| view.individuals.iter_mut().for_each(|one| one.on_front = false))),
        (
            "all diverged",
            with(&|view| {
                view.individuals.iter_mut().for_each(|one| {
                    one.values.fill(None);
                    one.on_front = false;
                })
            }),
        ),
        (
            "a front without values",
            with(&|view| view.individuals.iter_mut().for_each(|one| one.values.clear())),
        ),
        (
            "equal values",
            with(&|view| {
                view.individuals.iter_mut().for_each(|one| one.values = vec![Some(0.25), Some(1000.0)])
            }),
        ),
        (
            "no error at all",
            with(&|view| view.individuals.iter_mut().for_each(|one| one.values[0] = Some(0.0))),
        ),
        (
            "not numbers",
            with(&|view| {
                view.individuals.iter_mut().for_each(|one| {
                    one.values = vec![Some(f64::NAN), Some(f64::INFINITY)];
                    one.seconds = f64::NAN;
                })
            }),
        ),
        ("one objective", with(&|view| view.objectives.truncate(1))),
        ("five objectives", five_objectives()),
        ("500 individuals", many()),
        ("deep", with(&|view| view.individuals.iter_mut().for_each(|one| one.layers = sample::deep(60)))),
        ("hostile", hostile()),
    ]
}

fn five_objectives() -> RunView {
    let mut view = sample::run();
    for (name, unit, bound) in [
        ("macs", "multiply-adds", None),
        ("activation_memory", "bytes", Some(4000.0)),
        ("latency", "ms", Some(0.4)),
    ] {
        view.objectives.push(ObjectiveView {
            name: name.into(),
            unit: unit.into(),
            log: name != "latency",
            bound,
        });
        view.reference.push(1e6);
    }
    for (index, one) in view.individuals.iter_mut().enumerate() {
        let params = one.values[1].unwrap_or(1.0);
        one.values.extend([
            Some(params * 41.0),
            Some(900.0 + params.sqrt() * 40.0),
            Some(0.1 + (index % 7) as f64 * 0.05),
        ]);
        one.on_front |= index % 3 == 0 && one.values[0].is_some();
    }
    view
}

fn many() -> RunView {
    let mut view = sample::run();
    let first = view.individuals.clone();
    for id in first.len() as u64..500 {
        let parent = &first[id as usize % first.len()];
        let mut child = parent.clone();
        (child.id, child.parent, child.generation) =
            (id + 4000, Some(parent.id), parent.generation + 1 + id as u32 / 20);
        child.values =
            parent.values.iter().map(|value| value.map(|v| v * (1.0 + id as f64 / 900.0))).collect();
        view.individuals.push(child);
    }
    view
}

const ATTACK: &str = "</title></style></svg><script>alert('x')</script><img src=https://evil.example/x onerror=y>\"'&\u{0}\u{1b}]]>";

fn hostile() -> RunView {
    let mut view = sample::run();
    let text = || ATTACK.to_owned();
    (view.title, view.dataset, view.strategy, view.budget) = (text(), text(), text(), text());
    (view.started, view.state, view.settings) = (text(), text(), text());
    view.phases[0].0 = text();
    for one in &mut view.measuring {
        (one.name, one.unit, one.by) = (text(), text(), text());
        one.failures[0].0 = text();
    }
    view.given_up.iter_mut().for_each(|one| one.schedule = text());
    view.objectives.iter_mut().for_each(|objective| (objective.name, objective.unit) = (text(), text()));
    for one in &mut view.individuals {
        one.edits = vec![text()];
        one.outcome = text();
        one.layers.iter_mut().for_each(|layer| (layer.label, layer.shape) = (text(), text()));
    }
    view.test_uses.iter_mut().for_each(|entry| (entry.when, entry.why) = (text(), text()));
    view.inheritance.iter_mut().for_each(|row| row.edits = text());
    view.versions.push((text(), text()));
    view.machine.push((text(), text()));
    view
}

/// Every element of the page is closed in order. Its own scripts and styles are not looked into.
fn check_nesting(name: &str, page: &str) {
    const VOID: [&str; 2] = ["meta", "link"];
    let mut open: Vec<&str> = Vec::new();
    let mut rest = page.strip_prefix("<!DOCTYPE html>").expect("a doctype");
    while let Some(start) = rest.find('<') {
        rest = &rest[start + 1..];
        let end = rest.find('>').expect("a closed tag");
        let (tag, after) = (&rest[..end], &rest[end + 1..]);
        rest = after;
        if let Some(closed) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(closed), "{name}");
            continue;
        }
        let element = tag.split([' ', '\n']).next().unwrap_or_default();
        if !VOID.contains(&element) {
            open.push(element);
        }
        if ["script", "style"].contains(&element) {
            rest = &rest[rest.find(&format!("</{element}>")).expect("closed")..];
        }
    }
    assert_eq!(open, Vec::<&str>::new(), "{name}");
}

/// The parts of `page` that a browser would take for the address of something to load, or could run.
fn check_loads(name: &str, page: &str) {
    let page = page.replace("http://www.w3.org/2000/svg", "");
    for attribute in [" src=", "url(", "@import", "<img", "<iframe", "<object", " onerror=\"", "xlink:href"] {
        assert!(
            !page.replace("img src=https://evil.example/x onerror=y", "").contains(attribute),
            "{name}: {attribute}"
        );
    }
    for link in page.split("href=\"").skip(1) {
        assert!(link.starts_with('#') || link.starts_with("data:,\""), "{name}: {}", &link[..40]);
    }
    assert_eq!(page.matches("<script").count(), 1, "{name}");
    let free = page.replace("https://evil.example/x", "");
    assert!(!free.contains("http://") && !free.contains("https://"), "{name}");
}

#[test]
fn pages_are_well_formed_and_load_nothing() {
    for (name, view) in runs() {
        let page = html::page(&view);
        check_nesting(name, &page);
        check_loads(name, &page);
        for member in view.front() {
            assert!(page.contains(&format!("#{}</a>", member.id)), "{name}: {}", member.id);
        }
    }
}

#[test]
fn drawings_are_well_formed_for_every_run() {
    for (name, view) in runs() {
        for (plot, drawing) in plots(&view) {
            let text = drawing.standalone();
            let size = png::tree(&text).unwrap_or_else(|error| panic!("{name}, {plot}: {error}")).size();
            assert!(
                size.width() >= 20.0 && size.height() >= 20.0 && size.height() < 20_000.0,
                "{name}, {plot}"
            );
            assert!(!text.contains("NaN") && !text.contains("inf"), "{name}, {plot}");
            check_loads(name, &(text + "<script"));
        }
    }
}

#[test]
fn hostile_text_is_shown_as_text() {
    let page = html::page(&hostile());
    assert!(page.contains("&lt;script&gt;alert('x')"));
    assert!(!page.contains("<script>alert") && !page.contains('\0'));
}

#[test]
fn pictures_decode_and_are_not_blank() {
    let folder = tempfile::tempdir().expect("a folder");
    let view = sample::run();
    let page = write(&view, folder.path()).expect("a report");
    assert_eq!(page, folder.path().join("report.html"));
    let names: Vec<String> = plots(&view).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names.len(), 4 + view.front().len());
    for name in names {
        let file = folder.path().join("plots").join(&name);
        let picture = image::open(file.with_extension("png")).expect("a picture").to_rgb8();
        let inked = picture.pixels().filter(|pixel| pixel.0 != [255; 3]).count();
        assert!(inked * 200 > picture.pixels().len() && inked < picture.pixels().len(), "{name}: {inked}");
        assert!(
            fs::read_to_string(file.with_extension("svg")).expect("a drawing").starts_with("<svg xmlns=")
        );
    }
}

#[test]
fn a_second_report_replaces_the_first_and_leaves_nothing_else() {
    let folder = tempfile::tempdir().expect("a folder");
    let plots = folder.path().join("plots");
    let mut view = sample::run();
    view.individuals.iter_mut().for_each(|one| one.layers.truncate(3));
    write(&view, folder.path()).expect("a report");
    let gone = view.front()[0].id;
    fs::write(plots.join("notes.txt"), "mine").expect("a file");
    view.individuals.iter_mut().filter(|one| one.id == gone).for_each(|one| one.on_front = false);
    write(&view, folder.path()).expect("a report");
    let names: Vec<_> = fs::read_dir(&plots)
        .expect("plots")
        .map(|e| e.expect("entry").file_name().into_string().expect("name"))
        .collect();
    assert!(!names.iter().any(|name| name.starts_with(&format!("network-{gone}."))), "{names:?}");
    assert!(
        names.contains(&"notes.txt".to_owned()) && names.iter().all(|name| !name.starts_with(".tmp")),
        "{names:?}"
    );
    assert_eq!(fs::read_dir(folder.path()).expect("folder").count(), 2);
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("file");
    fs::write(&file, "").expect("a file");
    let error = write(&sample::run(), &file).expect_err("a file is no folder").to_string();
    assert!(error.contains("file/plots"), "{error}");
}

#[test]
fn objectives_with_the_same_name_get_files_of_their_own() {
    let mut view = sample::run();
    view.objectives = ["a/b", "a b", ""]
        .map(|name| ObjectiveView { name: name.into(), ..ObjectiveView::default() })
        .to_vec();
    assert_eq!(file_names(&view), ["a_b", "a_b1", "2"]);
}

#[test]
fn a_view_survives_json() {
    let mut view = sample::run();
    // serde_json reads other fractions to within their last digit.
    let half = |value: &mut f64| *value = 0.5;
    view.phases.iter_mut().for_each(|(_, seconds)| half(seconds));
    view.hypervolume.iter_mut().for_each(|point| (point.seconds, point.value) = (0.5, 2.0));
    view.finished.truncate(1);
    view.finished.iter_mut().for_each(|row| (row.validation_error, row.test_error) = (0.25, 0.5));
    view.test_uses.iter_mut().for_each(|entry| half(&mut entry.error));
    for one in &mut view.individuals {
        (one.seconds, one.test_error, one.values) = (0.5, Some(0.25), vec![None, Some(1.5)]);
    }
    view.inheritance
        .iter_mut()
        .for_each(|r| (r.parent_error, r.first_error, r.trained_error) = (0.5, 0.5, 0.25));
    let text = serde_json::to_string(&view).expect("json");
    assert_eq!(serde_json::from_str::<RunView>(&text).expect("a view"), view);
}

/// Keeps the sample to be looked at, where the variable `REPORT_SAMPLE` names a folder.
#[test]
fn the_page_is_the_same_every_time() {
    let page = html::page(&sample::run());
    assert_eq!(page, html::page(&sample::run()));
    if let Some(folder) = std::env::var_os("REPORT_SAMPLE") {
        for (name, view) in runs() {
            write(&view, &Path::new(&folder).join(name.replace(' ', "-"))).expect("a report");
        }
    }
}
