//! The settings that suit a data set, for a search that is started without a config file.

use super::{Config, DataConfig, Recipe};

impl Config {
    /// The defaults for `name`, one of [`Names::data`](super::Names), or the path of a folder of images.
    ///
    /// Mirror images, shifts and blanks help on photographs and harm digits, so augmentation follows the data.
    pub fn for_data(name: &str) -> Self {
        let recipe = Recipe::default();
        // Digits are so few that a tenth of them would hardly tell two networks apart.
        let held_out = |share| DataConfig { validation: share, ..DataConfig::default() };
        let (name, data, recipe) = match name {
            "digits" => (name, DataConfig::default(), recipe),
            "mnist" | "idx" => (name, held_out(0.1), Recipe { crop: 2, ..recipe }),
            "fashion-mnist" => (name, held_out(0.1), Recipe { flip: true, crop: 2, ..recipe }),
            "cifar10" => {
                (name, held_out(0.1), Recipe { flip: true, crop: 4, cutout: 8, mixup: 0.2, ..recipe })
            }
            // Without a common size a folder of photographs could not be batched at all.
            "images" => {
                (name, DataConfig { size: 32, ..held_out(0.2) }, Recipe { flip: true, crop: 4, ..recipe })
            }
            folder => {
                let data = DataConfig { dir: Some(folder.into()), size: 32, ..held_out(0.2) };
                ("images", data, Recipe { flip: true, crop: 4, ..recipe })
            }
        };
        let data = DataConfig { name: name.into(), ..data };
        Self { data, recipe, ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn digits_are_the_default_and_photographs_are_mirrored() {
        assert_eq!(Config::for_data("digits"), Config::default());
        let cifar = Config::for_data("cifar10");
        assert_eq!((cifar.data.name.as_str(), cifar.recipe.flip, cifar.recipe.cutout), ("cifar10", true, 8));
        assert!(Config::for_data("fashion-mnist").recipe.flip && !Config::for_data("mnist").recipe.flip);
    }

    #[test]
    fn any_other_name_is_a_folder_of_images() {
        let config = Config::for_data("./my photos");
        assert_eq!(config.data.name, "images");
        assert_eq!(config.data.dir.as_deref(), Some(Path::new("./my photos")));
        assert!(config.data.size > 0);
    }

    #[test]
    fn settings_given_by_hand_come_after_the_preset() {
        let sets = ["recipe.flip=false".to_string()];
        let config = Config::for_data("cifar10").overlay(None, &sets).unwrap();
        assert!(!config.recipe.flip && config.recipe.crop == 4);
    }
}
