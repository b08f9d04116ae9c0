//! The best practice checklist, as far as the record of a study answers it.

use std::collections::BTreeMap;

use super::{Prepared, Trace};
use crate::report::CheckView;

/// The checklist of Lindauer and Hutter ("Best practices for scientific research on neural architecture search", JMLR 2020, appendix),
/// in our words, as far as a record answers it.
pub(super) fn checklist(
    prepared: &Prepared,
    traces: &BTreeMap<String, Vec<Trace>>,
    machine: &[(String, String)],
) -> Vec<CheckView> {
    let study = &prepared.study;
    let fact = |names: &[&str]| {
        let told = machine.iter().filter(|(name, _)| names.contains(&name.as_str()));
        told.map(|(name, value)| format!("{name} {value}")).collect::<Vec<_>>().join(", ")
    };
    let has = |strategy: &str| study.methods.iter().any(|method| method.config.strategy == strategy);
    let seconds: f64 = traces.values().flatten().map(|trace| trace.seconds).sum();
    let longest = traces.values().flatten().map(|trace| trace.seconds).fold(0.0, f64::max);
    let runs: usize = traces.values().map(Vec::len).sum();
    let seeds = match study.seeds.as_slice() {
        [first, .., last] if last - first + 1 == study.seeds.len() as u64 => format!("{first} to {last}"),
        seeds => seeds.iter().map(u64::to_string).collect::<Vec<_>>().join(", "),
    };
    let is_table = prepared.answers.is_some();
    let answered =
        |question: &str, answer: String| CheckView { question: question.into(), answer: Some(answer) };
    let check = |question: &str, answer: Option<String>| CheckView { question: question.into(), answer };
    let repeated = study.seeds.len() > 1;
    vec![
        answered(
            "Is the code of the training pipeline, the search space and the methods available?",
            format!("It is this program, {}; each method is one file of it.", fact(&["paretomorph"])),
        ),
        answered(
            "Are the hyperparameters of training and of the methods stated, and the seeds?",
            format!("The study's file stands below; what it does not state has its default. Seeds: {seeds}."),
        ),
        answered(
            "Were all methods run on the same data, split, search space and training?",
            "One problem and one evaluation for all; methods differ in what their settings state below.".into(),
        ),
        answered(
            "Were confounders such as hardware and library versions controlled?",
            "All runs came from this program, side by side on one machine. Budgets of evaluations or compute do not \
             depend on its speed; a budget of time does."
                .into(),
        ),
        answered("Was performance compared over time?", "The curves above.".into()),
        check("Was random search compared?", has("random").then(|| "It is among the methods.".into())),
        check("Were ablations run?", study.ablations.clone()),
        check(
            "Were runs repeated, and how often?",
            repeated.then(|| format!("{} runs of each method, {runs} in all so far.", study.seeds.len())),
        ),
        check(
            "Is the spread of results reported?",
            repeated.then(|| "Quartiles over the seeds, and pairwise tests with correction.".into()),
        ),
        check(
            "Was a tabular benchmark used for evaluation in depth?",
            is_table.then(|| "This is one: the true front is known.".into()),
        ),
        check("How were hyperparameters tuned, and what did it cost?", study.tuning.clone()),
        check(
            "How long did the whole take, end to end?",
            (seconds > 0.0).then(|| {
                format!(
                    "The runs took {seconds:.0} s together, the longest {longest:.1} s, everything counted from reading \
                     the data to the last evaluation."
                )
            }),
        ),
        answered("What hardware was it?", fact(&["processor", "cores", "memory"])),
    ]
}
