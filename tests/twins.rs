//! Growth that learns: copies of a channel part once they are trained.

use candle_core::{DType, Device, Tensor};
use morphisms::{Conv, Draft, Index, LayerId, Network, ParamKey, Role, Shape, Source, catalog};
use paretomorph::config::{DataConfig, Recipe};
use paretomorph::data::Dataset;
use paretomorph::stop::Stop;
use paretomorph::train::{End, Plan, Trainer, error_rate};

/// Trains for some epochs on the digits.
fn train(network: &Network, data: &Dataset, name: &str, epochs: usize) -> Network {
    let folder = tempfile::tempdir().unwrap();
    let plan = Plan { seed: 1, name: name.into(), epochs, distill_epochs: 0, lr: 0.05 };
    let trainer = Trainer {
        data,
        recipe: &Recipe::default(),
        plan: &plan,
        checkpoint: &folder.path().join("checkpoint"),
        stop: &Stop::default(),
        on_epoch: &|_, _| {},
    };
    match trainer.train(network, None).unwrap() {
        End::Done(network) => network,
        End::Diverged(_) | End::Stopped => panic!("the training must end"),
    }
}

/// Pairs of the child's channels that come from one channel of the parent.
fn twins(index: &[usize]) -> Vec<(usize, usize)> {
    let first = |i: usize| index.iter().position(|&from| from == index[i]).unwrap();
    (0..index.len()).map(|i| (first(i), i)).filter(|(a, b)| a != b).collect()
}

/// The relative distance of two rows of a kernel.
fn distance(kernel: &Tensor, a: usize, b: usize) -> f64 {
    let row = |i: usize| kernel.get(i).unwrap().to_dtype(DType::F64).unwrap().flatten_all().unwrap();
    let norm = |t: Tensor| t.sqr().unwrap().sum_all().unwrap().to_scalar::<f64>().unwrap().sqrt();
    norm((row(a) - row(b)).unwrap()) / norm(row(a))
}

#[test]
fn twins_part_after_one_epoch_on_real_data() {
    let data = Dataset::load(&DataConfig::default(), 0).unwrap();
    let mut draft = Draft::new(Shape::map(1, 8, 8));
    let x = draft.conv_bn_relu(draft.input(), Conv::same(8, 3));
    let x = draft.conv_bn_relu(x, Conv::same(8, 3));
    draft.head(x, 10);
    let fresh = Network::init(draft.build().unwrap(), 3, DType::F32, &Device::Cpu).unwrap();
    let parent = train(&fresh, &data, "parent", 4);

    let widen = catalog::named("widen").unwrap();
    let group = LayerId(4); // the second convolution
    let sites = widen.sites(parent.architecture());
    let site =
        sites.iter().find(|s| s.layers == [group] && s.amount == 8 && s.variant == "replicate").unwrap();
    let rewrite = widen.rewrite(parent.architecture(), site, 7).unwrap();
    let key = ParamKey::new(group, Role::Weight);
    let Source::Gather { index: Index::Fixed(index), .. } = &rewrite.inheritance.sources[&key] else {
        panic!("replication gathers channels")
    };
    let child = parent.child(&rewrite, None).unwrap();
    let error = |network: &Network| error_rate(network, &data, &data.validation).unwrap();
    assert_eq!(error(&parent), error(&child), "before training the child is as good as its parent");

    let twins = twins(index);
    assert_eq!(twins.len(), 8);
    let kernel = |network: &Network| network.weights().get(key).unwrap().clone();
    assert!(twins.iter().all(|&(a, b)| distance(&kernel(&child), a, b) == 0.0), "twins start alike");
    let trained = kernel(&train(&child, &data, "child", 1));
    let mut apart: Vec<f64> = twins.iter().map(|&(a, b)| distance(&trained, a, b)).collect();
    apart.sort_by(f64::total_cmp);
    println!("relative distance of twins after one epoch: {apart:.3?}");
    // Far above rounding (1e-7): they are different channels now.
    assert!(apart[0] > 1e-3, "{apart:?}");
}
