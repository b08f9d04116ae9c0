//! The part of the page that accounts for trainings that were given up before their last epoch.

use maud::{Markup, html};

use super::{GivenUpView, RunView, format};

/// How far trainings came, and what that is worth.
pub fn given_up(view: &RunView) -> Option<Markup> {
    let one = view.given_up.as_ref()?;
    Some(html! {
        p { (summary(one)) }
        div.scroll tabindex="0" { table {
            thead { tr { th.n scope="col" { "epochs" } th.n scope="col" { "trainings that ended there" } } }
            tbody { @for (epochs, count) in &one.ends { tr {
                th.n scope="row" { (epochs) }
                td.n { (count) }
            } } }
        } }
    })
}

/// What giving up saved, and how often it was wrong, in sentences.
pub fn summary(view: &GivenUpView) -> String {
    let GivenUpView { schedule, trainings, given_up, planned, trained, .. } = view;
    let saved = format::percent(1.0 - *trained as f64 / (*planned).max(1) as f64);
    let saved = format!(
        "\"{schedule}\" gave up {given_up} of {trainings} trainings, which saved {saved} of their epochs."
    );
    let distance = view.mean_distance.map(|distance| {
        format!(
            "Final errors predicted from half of the epochs were off by {} of the images in the mean of {} trainings.",
            format::percent(distance),
            view.predictions
        )
    });
    let audited = (view.mean_distance.is_some()).then(|| match view.audited {
        0 => "None of the trainings that it would have given up was audited.".to_string(),
        audited => format!(
            "Of {audited} that it would have given up and that went on to be audited, {} came to the front after all.",
            view.wrongly
        ),
    });
    [Some(saved), distance, audited].into_iter().flatten().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_without_predictions_says_what_it_saved() {
        let view = GivenUpView {
            schedule: "asha".into(),
            trainings: 10,
            given_up: 6,
            planned: 90,
            trained: 45,
            ..GivenUpView::default()
        };
        assert_eq!(
            summary(&view),
            "\"asha\" gave up 6 of 10 trainings, which saved 50.0\u{a0}% of their epochs."
        );
        let curve = GivenUpView {
            mean_distance: Some(0.012),
            predictions: 7,
            audited: 3,
            wrongly: 1,
            schedule: "curve".into(),
            ..view
        };
        let text = summary(&curve);
        assert!(text.contains("off by 1.20\u{a0}% of the images in the mean of 7 trainings"), "{text}");
        assert!(text.contains("Of 3 that it would have given up"), "{text}");
    }
}
