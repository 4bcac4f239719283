"""Weights with the names of efficientnet_lite_pytorch as timm's: by order and shape, which needs no table of names."""


def to_timm(state, model):
    """Both lists are in the order of the network, so entry i of one is entry i of the other."""
    own = model.state_dict()
    assert len(own) == len(state), (len(own), len(state))
    mapped = dict(zip(own, state.values()))
    for name, value in mapped.items():
        leaf = name.rsplit(".", 1)[1]
        assert name.startswith("classifier") or own[name].shape == value.shape, (name, own[name].shape, value.shape)
        assert leaf in list(state)[list(own).index(name)], name
    return mapped
