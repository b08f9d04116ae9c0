//! The settings that suit a data set, for a search that is started without a config file.

use super::{Config, DataConfig, Recipe};

impl Config {
    /// The defaults for `name`, one of [`Names::data`](super::Names), or the path of a folder of images.
    ///
    /// Mirror images, shifts and blanks help on photographs and harm digits, so augmentation follows the data.
    pub fn for_data(name: &str) -> Self {
        let recipe = Recipe::default();
        let (name, dir, size, recipe) = match name {
            "digits" => (name, None, 0, recipe),
            "mnist" => (name, None, 0, Recipe { crop: 2, ..recipe }),
            "fashion-mnist" => (name, None, 0, Recipe { flip: true, crop: 2, ..recipe }),
            "cifar10" => (name, None, 0, Recipe { flip: true, crop: 4, cutout: 8, mixup: 0.2, ..recipe }),
            // Without a common size a folder of photographs could not be batched at all.
            "images" => (name, None, 32, Recipe { flip: true, crop: 4, ..recipe }),
            folder => ("images", Some(folder.into()), 32, Recipe { flip: true, crop: 4, ..recipe }),
        };
        let data = DataConfig { name: name.into(), dir, size, ..DataConfig::default() };
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
