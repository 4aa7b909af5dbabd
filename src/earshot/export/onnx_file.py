"""A student as one ONNX file: raw waveform in, and the ids of texts that it reads; logits out."""

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
from onnx import numpy_helper
from torch import nn

from earshot.export import bilstm, cnn, conformer, convnext, heads, languages
from earshot.export.front_end import front_end
from earshot.export.parts import Part, ints
from earshot.models import fake_quant
from earshot.models.bilstm import BiLSTMStudent
from earshot.models.blocks import ConvStudent
from earshot.models.conformer import ConformerStudent
from earshot.models.convnext import ConvNeXtStudent
from earshot.models.ctc import CTCHead, MultilingualHead
from earshot.models.fake_quant import FoldedHead
from earshot.models.heads import AttentiveHead, ClassHead, MatchingHead, OptionHead
from earshot.params import Features, Student
from earshot.runtime.files import atomic

_IR, _OPSET = 10, 20


class Form(NamedTuple):
    """What a file looks like from outside: its task's name, its inputs and outputs."""

    task: str
    signature: str


OPTIONS = Form(
    "choice",
    """student (
        float[samples] waveform,
        int64[items, question_ids] question,
        int64[items, choices, option_ids] options
    ) => (float[items, choices] logits) {{{nodes}}}""",
)
ATTENDED = Form(
    "choice", OPTIONS.signature.replace("logits)", "logits, float[items, choices, time] attention)")
)
CLASSES = Form(
    "classes", "student (float[samples] waveform) => (float[classes] logits) {{{nodes}}}"
)
TRANSCRIPT = Form(
    "transcript",
    "student (float[samples] waveform) => (float[time, symbols] log_posteriors) {{{nodes}}}",
)
MULTILINGUAL = Form(
    "transcript",
    """student (float[samples] waveform, float[languages] language) => (
        float[time, symbols] log_posteriors, float[languages] language_log_probabilities
    ) {{{nodes}}}""",
)
FORMS: dict[type, Form] = {
    OptionHead: OPTIONS,
    AttentiveHead: ATTENDED,
    MatchingHead: ATTENDED,
    ClassHead: CLASSES,
    FoldedHead: CLASSES,
    CTCHead: TRANSCRIPT,
    MultilingualHead: MULTILINGUAL,
}
HEADS: dict[type, Callable[..., Part]] = {
    OptionHead: heads.option_head,
    AttentiveHead: heads.attentive_head,
    MatchingHead: heads.matching_head,
    ClassHead: heads.class_head,
    CTCHead: heads.ctc_head,
    MultilingualHead: heads.ctc_head,
}


class ExportError(ValueError):
    """A student that cannot become a file; the message says why."""


def _by_frame(
    encoder: Callable[..., Part], skips: bool, student: nn.Module, features: Features
) -> list[Part]:
    """Return an encoder, which may skip silent frames where it pools, and its head; one that is
    conditioned on the language encodes a clip twice.
    """
    silence = skips and features.skips_silence
    head = HEADS[type(student.head)](student.head, silence)
    if not isinstance(student.head, MultilingualHead):
        return [encoder(student, features), head]
    pool = heads.pool(silence)
    nodes, constants = encoder(student, features)
    if not student.head.conditioning:
        predicted = languages.language_head(student.head, "pooled")
        return [(nodes + pool, constants), predicted, head]
    first_pass = languages.first_pass(nodes + pool), constants
    predicted = languages.language_head(student.head, f"{languages.FIRST_PASS}pooled")
    embedding = languages.embedding(student.language)
    second_pass, _ = encoder(student, features, conditioned=True)  # of the same weights
    return [first_pass, predicted, embedding, (second_pass, {}), head]


def _convolutional(student: ConvStudent, features: Features) -> list[Part]:
    return [cnn.network(student)]


NETWORKS: dict[type, Callable[..., list[Part]]] = {
    BiLSTMStudent: partial(_by_frame, bilstm.encoder, True),
    ConformerStudent: partial(_by_frame, conformer.encoder, False),
    ConvNeXtStudent: partial(_by_frame, convnext.encoder, False),
    ConvStudent: _convolutional,
}


def export(
    student: nn.Module,
    features: Features,
    student_params: Student,
    path: str | Path,
    metadata: dict[str, str],
    labels: Sequence[str] = (),
) -> None:
    """Write a student with its front end as one atomic ONNX file, the same bytes for same weights.

    Input: `waveform` float32 (samples,) in [−1, 1] at the features' sample rate. A student that
    reads options also takes `question` int64 (Q, Lq) and `options` int64 (Q, C, Lo), ids of
    `text.encode_item` padded with 0, and its `logits` are float32 (Q, C); one with fixed classes
    has `logits` (C,) in the order of `labels`. One that attends also says how it weighed the
    encoder's frames, `attention` float32 (Q, C, T). One that transcribes has `log_posteriors`
    (T, V) of the alphabet `labels`; one of K languages takes `language` float32 (K,), one-hot, or
    all zeros for what it predicts itself, and has `language_log_probabilities` (K,) too. Sizes vary
    from call to call.

    The file is in float, but for a student of `fake_quant.prepare`, whose file is int8 in QDQ form.
    Its metadata hold task, sample_rate, the parameters of features and student as JSON, and
    `metadata`; beside these buckets and text_version where options are read, and else labels as
    JSON; frame_seconds where frames are written, and languages as JSON where they are classified.
    Raises ExportError when there is not one label for each class.
    """
    student = fake_quant.folded_student(student) if isinstance(student, ConvStudent) else student
    form = FORMS[type(student.head)]
    described = metadata | {
        "task": form.task,
        "sample_rate": str(features.sample_rate),
        "features": json.dumps(features.model_dump(), sort_keys=True),
        "student": json.dumps(student_params.model_dump(), sort_keys=True),
    }
    if form.task == OPTIONS.task:
        described["buckets"] = str(student_params.text.buckets)
        described["text_version"] = str(student_params.text.version)
    elif len(labels) != len(student.head.weight):
        raise ExportError(
            f"{path}: {len(labels)} labels for a student of {len(student.head.weight)} classes"
        )
    else:
        described["labels"] = json.dumps(list(labels))
    if form.task == TRANSCRIPT.task:
        seconds = student.strides[-1] * features.hop_length / features.sample_rate
        described["frame_seconds"] = str(seconds)
    if form is MULTILINGUAL:
        described["languages"] = json.dumps(student.head.languages)
    network = next(make for kind, make in NETWORKS.items() if isinstance(student, kind))
    parts = [_shared(), front_end(features), *network(student, features)]
    model = onnx.helper.make_model(
        _graph(form, parts),
        ir_version=_IR,
        opset_imports=[onnx.helper.make_opsetid("", _OPSET)],
        producer_name="earshot",
    )
    onnx.helper.set_model_props(model, dict(sorted(described.items())))
    save(model, path)


def _graph(form: Form, parts: Sequence[Part]) -> onnx.GraphProto:
    nodes = "".join(nodes for nodes, _ in parts)
    graph = onnx.parser.parse_graph(form.signature.format(nodes=nodes))
    for node in graph.node:
        node.name = node.output[0]
    used = {name for node in graph.node for name in node.input}
    for _, constants in parts:
        for name, value in constants.items():
            if name in used:
                graph.initializer.append(numpy_helper.from_array(value, name))
    return graph


def save(model: onnx.ModelProto, path: str | Path) -> None:
    """Check a model and write it atomically, the same bytes for the same content."""
    onnx.checker.check_model(model, full_check=True)
    with atomic(path) as partial:
        partial.write_bytes(model.SerializeToString(deterministic=True))


def _shared() -> Part:
    places = {"zero": ints(0), "one": ints(1), "last": ints(-1), "before_last": ints(-2)}
    return "", places | {"unity": np.float32([1])}
