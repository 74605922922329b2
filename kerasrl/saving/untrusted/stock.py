"""The classes of Keras that a file from a stranger may name.

Left out are those that run code of the file's (`Lambda`); that read files (the lookup and text
layers); and that fill arrays or go round loops as large as the file says while they are being made
(`Normalization`, `UpSampling1D`, `SpectralNormalization`). A user may name any of them.
"""

_LAYERS = """
    Activation ActivityRegularization Add AdditiveAttention AlphaDropout Attention Average
    AveragePooling1D AveragePooling2D AveragePooling3D BatchNormalization Bidirectional
    CenterCrop Concatenate Conv1D Conv1DTranspose Conv2D Conv2DTranspose Conv3D Conv3DTranspose
    Cropping1D Cropping2D Cropping3D Dense DepthwiseConv1D DepthwiseConv2D Dot Dropout ELU
    Embedding Flatten GRU GaussianDropout GaussianNoise GlobalAveragePooling1D
    GlobalAveragePooling2D GlobalAveragePooling3D GlobalMaxPooling1D GlobalMaxPooling2D
    GlobalMaxPooling3D GroupNormalization Identity InputLayer LSTM LayerNormalization LeakyReLU
    Masking MaxPooling1D MaxPooling2D MaxPooling3D Maximum Minimum MultiHeadAttention Multiply
    PReLU Permute ReLU RepeatVector Rescaling Reshape Resizing SeparableConv1D SeparableConv2D
    SimpleRNN Softmax SpatialDropout1D SpatialDropout2D SpatialDropout3D Subtract
    ThresholdedReLU TimeDistributed UnitNormalization UpSampling2D ZeroPadding1D ZeroPadding2D
    ZeroPadding3D
"""
_INITIALIZERS = """
    Constant GlorotNormal GlorotUniform HeNormal HeUniform Identity LecunNormal LecunUniform Ones
    Orthogonal RandomNormal RandomUniform TruncatedNormal VarianceScaling Zeros
"""
_OPTIMIZERS = "Adadelta Adafactor Adagrad Adam AdamW Adamax Ftrl Lion Nadam RMSprop SGD"
_SCHEDULES = """
    CosineDecay CosineDecayRestarts ExponentialDecay InverseTimeDecay PiecewiseConstantDecay
    PolynomialDecay
"""

_NAMES = {
    "keras": "Sequential",
    "keras.layers": _LAYERS,
    "keras.initializers": _INITIALIZERS,
    "keras.regularizers": "L1 L1L2 L2",
    "keras.constraints": "MaxNorm MinMaxNorm NonNeg UnitNorm",
    "keras.optimizers": _OPTIMIZERS,
    "keras.optimizers.experimental": _OPTIMIZERS,  # Keras 2.15 calls most of them so.
    "keras.optimizers.schedules": _SCHEDULES,
    "keras.mixed_precision": "Policy",
}

# Keras 3's operations between layers: they compute with tensors, as those of Keras 2 that
# `operations` names, and what comes out is of a size that is checked before it is computed.
_OPERATIONS_3 = {
    "numpy": """
        Absolute Add All Any Argmax Argmin Ceil Clip Concatenate Cos Divide Equal Exp ExpandDims
        Expm1 Floor GetItem Greater GreaterEqual Less LessEqual Log Log1p LogicalAnd LogicalNot
        LogicalOr Matmul Max Maximum Mean Min Minimum Mod Multiply Negative NotEqual OnesLike Power
        Prod Reciprocal Reshape Round Sign Sin Sqrt Square Squeeze Stack Std Subtract Sum Tanh
        Transpose TrueDivide Var Where ZerosLike
    """,
    "nn": """
        Elu Gelu LeakyRelu LogSoftmax Relu Relu6 Selu Sigmoid Silu Softmax Softplus Softsign
        TanhShrink
    """,
    "math": "Logsumexp Rsqrt",
    "core": "Cast StopGradient",
}

_OPERATIONS = "TFOpLambda SlicingOpLambda"  # Which ones, `operations` says.

# The module, the class's name and the registered name, as Keras 2.15 writes them, and `canonical`.
CLASSES: frozenset[tuple[str, str, str | None]] = frozenset(
    {(module, name, None) for module, names in _NAMES.items() for name in names.split()}
    | {
        *[("keras.src.layers.core.tf_op_layer", name, name) for name in _OPERATIONS.split()],
        *[
            (f"keras.src.ops.{module}", name, name)
            for module, names in _OPERATIONS_3.items()
            for name in names.split()
        ],
        ("keras.src.engine.functional", "Functional", "Functional"),
        (
            "keras.src.mixed_precision.loss_scale_optimizer",
            "LossScaleOptimizerV3",
            "LossScaleOptimizerV3",
        ),
    }
)
LAYERS = frozenset(
    [
        *_LAYERS.split(),
        *_OPERATIONS.split(),
        *" ".join(_OPERATIONS_3.values()).split(),
        "Sequential",
        "Functional",
    ]
)

_ACTIVATIONS = """
    elu exponential gelu hard_sigmoid linear mish relu selu sigmoid softmax softplus softsign swish
    tanh
"""
_ACTIVATIONS_3 = """
    celu glu hard_shrink hard_silu hard_tanh leaky_relu log_sigmoid log_softmax relu6 soft_shrink
    sparse_plus sparse_sigmoid squareplus tanh_shrink threshold
"""
ACTIVATIONS = frozenset([*_ACTIVATIONS.split(), *_ACTIVATIONS_3.split()])
