//! Padding in JSON: `[height, width]` where opposite sides are equal, else `[top, left, bottom, right]`.

use std::fmt;

use candle_convnet::Padding;
use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserializer, Serialize, Serializer};

pub(super) fn serialize<S: Serializer>(padding: &Padding, serializer: S) -> Result<S::Ok, S::Error> {
    let Padding { top, left, bottom, right } = *padding;
    match padding.is_even() {
        true => (top, left).serialize(serializer),
        false => [top, left, bottom, right].serialize(serializer),
    }
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Padding, D::Error> {
    deserializer.deserialize_seq(Sides)
}

struct Sides;

impl<'de> Visitor<'de> for Sides {
    type Value = Padding;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a padding, [height, width] or [top, left, bottom, right]")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sides: A) -> Result<Padding, A::Error> {
        let mut found = Vec::new();
        while let Some(side) = sides.next_element::<usize>()? {
            found.push(side);
        }
        match found[..] {
            [height, width] => Ok(Padding::even(height, width)),
            [top, left, bottom, right] => Ok(Padding { top, left, bottom, right }),
            _ => Err(A::Error::invalid_length(found.len(), &self)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer::Window;

    fn read(padding: &str) -> Result<Padding, String> {
        let window = format!(r#"{{"kernel": [3, 3], "stride": [1, 1], "padding": {padding}}}"#);
        serde_json::from_str::<Window>(&window)
            .map(|window| window.padding)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_even_is_written_as_a_pair() {
        let written = |padding| {
            let window = Window { padding, ..Window::same(3) };
            serde_json::to_value(window).unwrap()["padding"].to_string()
        };
        assert_eq!(written(Padding::even(1, 0)), "[1,0]");
        assert_eq!(written(Padding { top: 0, left: 1, bottom: 0, right: 2 }), "[0,1,0,2]");
        for text in ["[1,0]", "[0,1,0,2]"] {
            assert_eq!(written(read(text).unwrap()), text);
        }
        assert_eq!(read("[2,3,2,3]"), Ok(Padding::even(2, 3)));
    }

    #[test]
    fn anything_else_is_refused() {
        for text in ["[]", "[1]", "[1,2,3]", "[1,2,3,4,5]", "3", r#""same""#, "null"] {
            let error = read(text).unwrap_err();
            assert!(error.contains("[height, width] or [top, left, bottom, right]"), "{text}: {error}");
        }
        for text in ["[-1,0]", "[0.5,0]", r#"["1",0]"#] {
            assert!(read(text).unwrap_err().contains("expected usize"), "{text}");
        }
    }
}
