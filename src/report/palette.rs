//! Colours (after Okabe and Ito, safe for the common kinds of colour blindness) and the style sheets made of them.

/// Name, value on a light page, value on a dark page.
const COLOURS: [(&str, &str, &str); 34] = [
    ("bg", "#ffffff", "#14181d"),
    ("raised", "#f6f8fa", "#1b2027"),
    ("fg", "#1b2128", "#e5e9ee"),
    ("muted", "#56616d", "#a3adb9"),
    ("grid", "#e4e8ec", "#2b323a"),
    ("axis", "#8b96a2", "#66717d"),
    ("faint", "#98a3ae", "#6c7884"),
    ("accent", "#0b63a5", "#6cb9f2"),
    ("accent-soft", "#dcebf8", "#17324a"),
    ("bound", "#ac3f08", "#f2935a"),
    ("good", "#00704f", "#45cda3"),
    ("conv", "#0b63a5", "#6cb9f2"),
    ("conv-soft", "#dcebf8", "#17324a"),
    ("linear", "#00795a", "#45cda3"),
    ("linear-soft", "#d8f1e8", "#113a2e"),
    ("pool", "#9a6400", "#f0bb48"),
    ("pool-soft", "#fcf0d3", "#3c2f10"),
    ("join", "#9d3f74", "#e9a0c8"),
    ("join-soft", "#f9e5ef", "#43243a"),
    ("plain", "#6b7681", "#8d98a4"),
    ("plain-soft", "#eff1f4", "#272d34"),
    ("skip", "#9d3f74", "#e9a0c8"),
    ("edge", "#7c8894", "#7c8894"),
    ("halo", "#ffffff", "#14181d"),
    ("mark", "#ffd24d", "#7a5c00"),
    ("s0", "#0b63a5", "#6cb9f2"),
    ("s1", "#c2540a", "#f2935a"),
    ("s2", "#00795a", "#45cda3"),
    ("s3", "#9d3f74", "#e9a0c8"),
    ("s4", "#8a6d00", "#e6c84a"),
    ("s5", "#3a3f46", "#d5dae0"),
    ("s6", "#6a4fb3", "#b8a5f0"),
    ("s7", "#1e93a8", "#6fd6e8"),
    ("s8", "#8d5a3b", "#cfa184"),
];

const DRAWING: &str = include_str!("assets/drawing.css");
const PAGE: &str = include_str!("assets/page.css");

/// The style sheet of the page: colours as variables, light or dark as the reader's system asks.
pub fn page_css() -> String {
    let variables = |pick: fn(&(&str, &str, &str)) -> String| COLOURS.iter().map(pick).collect::<String>();
    let light = variables(|(name, light, _)| format!("--{name}:{light};"));
    let dark = variables(|(name, _, dark)| format!("--{name}:{dark};"));
    format!(
        ":root{{color-scheme:light dark;{light}}}\n\
         @media (prefers-color-scheme:dark){{:root{{{dark}}}}}\n\
         @media print{{:root{{color-scheme:light;{light}}}}}\n{PAGE}{DRAWING}"
    )
}

/// The style sheet of a drawing on its own: light, and without variables, which not every viewer knows.
pub fn standalone_css() -> String {
    let font = "text{font-family:'DejaVu Sans',Verdana,sans-serif}\n".to_owned();
    COLOURS.iter().fold(font + DRAWING, |css, (name, light, _)| css.replace(&format!("var(--{name})"), light))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Relative luminance after WCAG 2.2.
    fn luminance(colour: &str) -> f64 {
        let channel = |at: usize| {
            let value = f64::from(u8::from_str_radix(&colour[at..at + 2], 16).expect("hexadecimal")) / 255.0;
            if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
        };
        0.2126 * channel(1) + 0.7152 * channel(3) + 0.0722 * channel(5)
    }

    fn contrast(a: &str, b: &str) -> f64 {
        let (a, b) = (luminance(a), luminance(b));
        (a.max(b) + 0.05) / (a.min(b) + 0.05)
    }

    fn colour(name: &str) -> (&'static str, &'static str) {
        let (_, light, dark) = COLOURS.iter().find(|(key, _, _)| *key == name).expect(name);
        (light, dark)
    }

    #[test]
    fn text_has_the_contrast_that_wcag_asks_for() {
        let boxes = ["conv-soft", "linear-soft", "pool-soft", "join-soft", "plain-soft", "mark"];
        let mut pairs =
            vec![("accent", "bg"), ("bound", "bg"), ("good", "bg"), ("muted", "bg"), ("muted", "raised")];
        pairs.extend(boxes.map(|name| ("fg", name)));
        pairs.extend(boxes[..5].iter().map(|name| ("muted", *name)));
        for (text, ground) in pairs {
            let ((light, dark), (white, black)) = (colour(text), colour(ground));
            assert!(contrast(light, white) >= 4.5, "{text} on {ground}: {}", contrast(light, white));
            assert!(contrast(dark, black) >= 4.5, "{text} on {ground}, dark: {}", contrast(dark, black));
        }
    }

    #[test]
    fn every_variable_is_defined() {
        assert!(!standalone_css().contains("var("));
        for used in page_css().split("var(--").skip(1) {
            let name = used.split(')').next().unwrap_or_default();
            assert!(COLOURS.iter().any(|(key, _, _)| *key == name), "{name}");
        }
    }
}
