//! Growth that learns: copies of a channel, and of a path, part once they are trained.

use candle_core::{DType, Device, Tensor};
use morphisms::{
    Conv, Draft, Index, Layer, LayerId, Network, Node, ParamKey, Role, Shape, Site, Source, catalog,
};
use paretomorph::config::{DataConfig, Recipe};
use paretomorph::data::Dataset;
use paretomorph::fidelity::Course;
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
        course: &Course::default(),
        checkpoint: &folder.path().join("checkpoint"),
        stop: &Stop::default(),
        on_epoch: &|_, _| {},
    };
    match trainer.train(network, None).unwrap() {
        End::Done(trained) => trained.network,
        End::Diverged { .. } | End::Stopped => panic!("the training must end"),
    }
}

/// Pairs of the child's channels that come from one channel of the parent.
fn twins(index: &[usize]) -> Vec<(usize, usize)> {
    let first = |i: usize| index.iter().position(|&from| from == index[i]).unwrap();
    (0..index.len()).map(|i| (first(i), i)).filter(|(a, b)| a != b).collect()
}

/// The relative distance of two rows of kernels.
fn distance(a: (&Tensor, usize), b: (&Tensor, usize)) -> f64 {
    let row = |(kernel, i): (&Tensor, usize)| {
        kernel.get(i).unwrap().to_dtype(DType::F64).unwrap().flatten_all().unwrap()
    };
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

    for variant in ["replicate", "noise"] {
        part(&parent, variant, &data);
    }
    paths_part(&parent, &data);
}

/// Splits the second convolution, trains for an epoch and looks at the two kernels, which start as one tensor.
fn paths_part(parent: &Network, data: &Dataset) {
    let rewrite = catalog::named("branch").unwrap();
    let rewrite = rewrite.rewrite(parent.architecture(), &Site::new(&[LayerId(4)], 0), 7).unwrap();
    let is_twin =
        |node: &&Node| parent.architecture().get(node.id).is_none() && matches!(node.layer, Layer::Conv(_));
    let twin = rewrite.architecture.nodes().find(is_twin).unwrap().id;
    let child = train(&parent.child(&rewrite, None).unwrap(), data, "branch", 1);
    let [a, b] =
        [LayerId(4), twin].map(|layer| child.weights().get(ParamKey::new(layer, Role::Weight)).unwrap());
    let apart: Vec<f64> = (0..8).map(|row| distance((a, row), (b, row))).collect();
    println!("relative distance of two paths after one epoch: {apart:.3?}");
    assert!(apart.iter().all(|&distance| distance > 1e-3), "{apart:?}");
}

/// Widens the second convolution, trains for an epoch and looks at its twins.
fn part(parent: &Network, variant: &str, data: &Dataset) {
    let widen = catalog::named("widen").unwrap();
    let group = LayerId(4);
    let sites = widen.sites(parent.architecture());
    let site = sites.iter().find(|s| s.layers == [group] && s.amount == 8 && s.variant == variant).unwrap();
    let rewrite = widen.rewrite(parent.architecture(), site, 7).unwrap();
    let key = ParamKey::new(group, Role::Weight);
    let Source::Gather { index: Index::Fixed(index), .. } = &rewrite.inheritance.sources[&key] else {
        panic!("replication gathers channels")
    };
    let child = parent.child(&rewrite, None).unwrap();
    let error = |network: &Network| error_rate(network, data, &data.validation).unwrap();
    assert_eq!(error(parent), error(&child), "before training the child is as good as its parent");

    let twins = twins(index);
    assert_eq!(twins.len(), 8);
    let kernel = |network: &Network| network.weights().get(key).unwrap().clone();
    let apart = |kernel: &Tensor| -> Vec<f64> {
        twins.iter().map(|&(a, b)| distance((kernel, a), (kernel, b))).collect()
    };
    assert_eq!(apart(&kernel(&child)), [0.0; 8], "twins start alike");
    let trained = kernel(&train(&child, data, "child", 1));
    let mut apart = apart(&trained);
    apart.sort_by(f64::total_cmp);
    println!("relative distance of twins after one epoch, {variant}: {apart:.3?}");
    // Far above rounding (1e-7): they are different channels now.
    assert!(apart[0] > 1e-3, "{variant}: {apart:?}");
}
