"""One or two shapes in a picture, told apart by four colours, and where they are.
Three minutes."""

import torch
from shapes import COLOURS, SHAPES, colours, ground, masks, painted, uniform
from trained import PADDING, case, fit, fixed
from transformers import DetrConfig, DetrForObjectDetection, ResNetConfig

SIDE, NOISE, KINDS, MOST, QUERIES = 48, 0.08, 4, 2, 5
NAMES = list(COLOURS)[:KINDS]


def drawn(generator, count):
    """Pictures, labels `[count, MOST]` and boxes `[count, MOST, 4]` of the shapes in them."""
    labels = torch.randint(KINDS, (count, MOST), generator=generator)
    image, boxes = ground(generator, count, 3, SIDE, NOISE), []
    for thing in range(MOST):
        radius = uniform(generator, 7, 11, count)
        # Each in its half, so that they never overlap.
        x = radius + uniform(generator, 0, 1, count) * (SIDE / 2 - 2 * radius) + SIDE / 2 * thing
        y = radius + uniform(generator, 0, 1, count) * (SIDE - 2 * radius)
        form = torch.randint(len(SHAPES), (count,), generator=generator)
        colour = colours(generator, labels[:, thing])
        mask = masks(form, x, y, radius, uniform(generator, -0.4, 0.4, count), SIDE)
        if thing == MOST - 1:
            alone = torch.rand(count, generator=generator) < 0.4
            mask = mask * ~alone[:, None, None]
            labels[:, thing] = torch.where(alone, PADDING, labels[:, thing])
        image = painted(image, mask, colour)
        boxes.append(edges(mask))
    return fixed(image), labels, torch.stack(boxes, 1)


def edges(mask):
    """Middle, width and height of what is covered, as shares of the picture."""
    sides = []
    for axis in (1, 2):
        covered = mask.amax(axis) > 0.5
        first = covered.int().argmax(-1)
        last = SIDE - covered.flip(-1).int().argmax(-1)
        sides.append(((first + last) / 2 / SIDE, (last - first) / SIDE))
    (x, width), (y, height) = sides
    return torch.stack([x, y, width, height], -1)


def overlaps(a, b):
    """Intersection over union of boxes, generalised (Rezatofighi et al. 2019), and as it is."""
    def corners(box):
        return box[..., :2] - box[..., 2:] / 2, box[..., :2] + box[..., 2:] / 2

    (a_low, a_high), (b_low, b_high) = corners(a), corners(b)
    common = (torch.minimum(a_high, b_high) - torch.maximum(a_low, b_low)).clamp(0).prod(-1)
    hull = (torch.maximum(a_high, b_high) - torch.minimum(a_low, b_low)).clamp(0).prod(-1)
    union = a[..., 2:].prod(-1) + b[..., 2:].prod(-1) - common
    iou = common / union.clamp(1e-6)
    return iou - (hull - union) / hull.clamp(1e-6), iou


def set_loss(logits, boxes, labels, truth):
    """DETR's loss over the best pairs of queries and things: there are few, so all are tried."""
    count = len(labels)
    there = labels != PADDING
    labels, row = labels.clamp(0), torch.arange(count, device=labels.device)
    chance = logits.softmax(-1)
    far = (boxes[:, :, None] - truth[:, None]).abs().sum(-1)
    wide, _ = overlaps(boxes[:, :, None], truth[:, None])
    likely = chance.gather(2, labels[:, None].expand(-1, QUERIES, -1))
    cost = (5 * far - 2 * wide - likely) * there[:, None]
    pairs = [(i, j) for i in range(QUERIES) for j in range(QUERIES) if i != j]
    with torch.no_grad():
        sums = torch.stack([cost[:, i, 0] + cost[:, j, 1] for i, j in pairs], 1)
        best = torch.tensor(pairs, device=labels.device)[sums.argmin(1)]
    wanted = torch.full((count, QUERIES), KINDS, device=labels.device)
    place = 0.0
    for thing in range(MOST):
        query, is_there = best[:, thing], there[:, thing]
        wanted[row[is_there], query[is_there]] = labels[is_there, thing]
        each = 5 * far[row, query, thing] + 2 * (1 - wide[row, query, thing])
        place = place + (each * is_there).sum() / there.sum()
    weight = torch.ones(KINDS + 1, device=labels.device)
    weight[-1] = 0.4
    named = torch.nn.functional.cross_entropy(logits.transpose(1, 2), wanted, weight=weight)
    return place + 2 * named


def loss(model, generator):
    pixels, labels, boxes = (it.to(model.device) for it in drawn(generator, 24))
    output = model(pixel_values=pixels, output_hidden_states=True)
    # As in the paper, each layer of the decoder answers.
    total = set_loss(output.logits, output.pred_boxes, labels, boxes)
    for state in output.decoder_hidden_states[1:-1]:
        state = model.model.decoder.layernorm(state)
        places = model.bbox_predictor(state).sigmoid()
        total = total + set_loss(model.class_labels_classifier(state), places, labels, boxes)
    return total


def right(model, samples):
    """For each thing, whether one with its label and an overlap of half is seen."""
    with torch.no_grad():
        output = model(pixel_values=samples["pixel_values"])
    chance, label = output.logits.softmax(-1)[..., :-1].max(-1)
    found = []
    for row, labels in enumerate(samples["labels"]):
        for thing, wanted in enumerate(labels[labels != PADDING]):
            _, iou = overlaps(output.pred_boxes[row], samples["boxes"][row, thing])
            found.append(((iou >= 0.5) & (label[row] == wanted) & (chance[row] > 0.5)).any())
    return torch.stack(found)


def make():
    torch.manual_seed(1)
    model = DetrForObjectDetection(
        DetrConfig(
            d_model=64, num_queries=QUERIES, encoder_layers=1, decoder_layers=2,
            encoder_ffn_dim=128, decoder_ffn_dim=128, encoder_attention_heads=4,
            decoder_attention_heads=4, use_timm_backbone=False, dropout=0.0, num_labels=KINDS,
            id2label=dict(enumerate(NAMES)), label2id={name: i for i, name in enumerate(NAMES)},
            backbone_config=ResNetConfig(
                embedding_size=16, hidden_sizes=[32, 64], depths=[1, 1], layer_type="basic",
                out_features=["stage2"],
            ),
        )
    )
    # Batch norms stay as they are made, since the class freezes them.
    fit(model, loss, steps=2400, rate=2e-3)
    pixels, labels, boxes = drawn(torch.Generator().manual_seed(2), 80)
    samples = {"pixel_values": pixels, "labels": labels, "boxes": boxes}
    inputs = {"pixel_values": drawn(torch.Generator().manual_seed(3), 8)[0]}
    case("detr/detr-shapes", model, inputs, samples, right)
