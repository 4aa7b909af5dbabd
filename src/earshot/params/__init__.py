"""Typed, frozen, strict parameters: what `params.yaml` may say.

Every key is declared here once, with its range. An unknown key, a wrong type or an impossible value
raises ParameterError: one line that names the key, the value and what is allowed.
"""

from earshot.params.data import (
    TAU2022,
    CommonVoice,
    Corpus,
    Download,
    Features,
    FewShot,
    Labels,
    Languages,
    LibriSpeech,
    LibriSpeechDownload,
    Manifest,
    OpenLanguages,
    OpenSpeech,
    OwnRecordings,
    Pool,
    SyntheticScenes,
    SyntheticSpeech,
    TAU2022Download,
    Transcripts,
    each,
)
from earshot.params.experiments import Guard, Range, Search, Sweep
from earshot.params.models import (
    AnyTeacher,
    BiLSTM,
    Cache,
    Conformer,
    ConvNeXt,
    CPMobile,
    Image,
    MobileNet,
    NetworkTeacher,
    Student,
    Teacher,
    Text,
    by_language,
    teacher_models,
    text_of,
)
from earshot.params.parser import ParameterError, parse
from earshot.params.pretraining import (
    CTCLanguagesPretrain,
    CTCPretrain,
    HubertPretrain,
    Iteration,
    Pretrain,
)
from earshot.params.recipes import (
    AVERAGED,
    CTC,
    KD,
    QAT,
    Adapt,
    Augment,
    Budget,
    CrossEntropy,
    Devices,
    FeatureMSE,
    Frames,
    Front,
    Language,
    Layered,
    LayerPairs,
    Masks,
    MixStyle,
    Mixup,
    Pair,
    Prune,
    Pseudo,
    Recipe,
    Roll,
    Terms,
    Warp,
)
from earshot.params.section import Split
from earshot.params.track import TASKS, Distill, Evaluate, Limits, Quantize, Track
from earshot.params.views import Conditions, Views
from earshot.params.whole import Params
