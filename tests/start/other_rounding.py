"""Another processor's arithmetic, imitated: what adds up many products comes out a hair different.

The last bit of a sum depends on the order in which it is added up. That order is chosen by the
library, by the processor, and by the shapes: three words and five words may go two ways. So here,
after each such operation, every result is moved by −1, 0 or +1 unit in the last place. By how much
is fixed by operation, shapes, place and seed: one and the same call gives the same bits, another
shape other bits. Results with few digits stay: small whole numbers are exact on every machine.

`LESSONS_ROUNDING=1` in the environment switches it on, with seed 1, in every Python process of the
tests. It works in the thread that imports torch, and does not reach NumPy.
"""

import functools
import importlib.util
import sys
import zlib

# Sums of products, means and the like, and the functions that a processor approximates, forward and
# backward. Whatever is missing here is exact on every machine (copies, masks, comparisons) or
# rounded as the standard for such numbers says (one sum, one product, one quotient, one root).
_NAMES = """
    mm addmm bmm baddbmm addbmm mv addmv dot vdot linear matmul convolution convolution_backward
    _scaled_dot_product_flash_attention_for_cpu
    _scaled_dot_product_flash_attention_for_cpu_backward _scaled_dot_product_attention_math
    _native_multi_head_attention _transformer_encoder_layer_fwd _softmax _softmax_backward_data
    _log_softmax _log_softmax_backward_data logsumexp native_layer_norm native_layer_norm_backward
    native_group_norm native_group_norm_backward native_batch_norm native_batch_norm_backward
    _fused_rms_norm _fused_rms_norm_backward sum nansum mean var var_mean std std_mean prod cumsum
    cumprod logcumsumexp norm linalg_vector_norm _foreach_norm _cdist_forward _cdist_backward
    nll_loss_forward nll_loss_backward nll_loss2d_forward mse_loss mse_loss_backward
    embedding_dense_backward index_add scatter_add exp exp2 expm1 log log2 log10 log1p pow sin cos
    tan asin acos atan atan2 sinh cosh tanh tanh_backward sigmoid sigmoid_backward
    log_sigmoid_forward log_sigmoid_backward softplus softplus_backward erf erfc erfinv gelu
    gelu_backward silu silu_backward mish elu elu_backward rsqrt logit special_entr logaddexp
    addcmul addcdiv lerp mkldnn_rnn_layer mkldnn_rnn_layer_backward _fused_adam _fused_adamw
    _fused_sgd linalg_solve_ex linalg_inv_ex linalg_lstsq linalg_svd _linalg_svd linalg_qr
    _linalg_det linalg_cholesky_ex _linalg_eigh linalg_eigh
"""
MOVED = set(_NAMES.split())
POOL = 2**20  # how many moves are drawn; a larger result begins again


def imitate(seed: int):
    """The mode that moves results, for `with`: it works in this thread until it is left."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    # How a number is read as a whole one, and its bits that are 0 if it is exact in 16 bits, which
    # have 11 for its digits.
    whole = {torch.float32: (torch.int32, 2**13 - 1), torch.float64: (torch.int64, 2**42 - 1)}
    draw = torch.Generator("cpu").manual_seed(seed)
    moves = torch.randint(-1, 2, (POOL,), generator=draw, device="cpu").repeat(2)
    moves = {integer: moves.to(integer) for integer, _ in whole.values()}
    is_moved: dict[object, bool] = {}  # by operation: asked for at every call, so it is kept
    starts: dict[tuple, int] = {}  # by operation, shapes and place: where in `moves` to begin

    def tensors(values) -> list[torch.Tensor]:
        """The tensors in a result or in arguments, those in lists too."""
        if isinstance(values, torch.Tensor):
            return [values]
        if isinstance(values, (tuple, list)):
            return [tensor for value in values for tensor in tensors(value)]
        return []

    def move(tensor, key: tuple) -> None:
        """Move every element by −1, 0 or +1 unit in the last place, in place."""
        integer, low_bits = whole[tensor.dtype]
        n, first = tensor.numel(), starts.get(key)
        if first is None:
            first = starts[key] = zlib.crc32(repr(key).encode()) % POOL
        steps = moves[integer][first : first + n]
        if n > POOL:
            steps = moves[integer].repeat(n // POOL + 1)[first : first + n]
        bits = tensor.view(integer)  # the next whole number is the next float
        is_long = (bits & low_bits).ne_(0)  # 1 where a number has more digits than 16 bits hold
        is_long *= tensor.isfinite()  # what is no number has bits that mean nothing
        bits += is_long.mul_(steps.view(tensor.shape))

    class OtherRounding(TorchDispatchMode):
        @classmethod
        def _should_skip_dynamo(cls):
            return False  # nothing is compiled here, and to skip it takes longer than to move

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            result = func(*args, **kwargs) if kwargs else func(*args)
            moved = is_moved.get(func)
            if moved is None:
                name = func.overloadpacket.__name__.removesuffix("_")
                moved = is_moved[func] = name in MOVED
            if moved:
                # What returns nothing, such as a step of AdamW, writes into its first argument.
                outputs = tensors(args[0] if result is None or result == () else result)
                shapes = tuple(tuple(given.shape) for given in tensors(args))
                for place, output in enumerate(outputs):
                    if output.dtype in whole and output.is_cpu and output.numel():
                        move(output, (func.overloadpacket.__name__, shapes, place))
            return result

    return OtherRounding()


class _WhenTorchIsImported:
    """Finds torch as ever, and has the mode entered once it is loaded."""

    def __init__(self, seed: int):
        self.seed = seed

    def find_spec(self, name, path=None, target=None):
        if name != "torch":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec("torch")
        load = spec.loader.exec_module

        def load_and_enter(module):
            load(module)
            imitate(self.seed).__enter__()

        spec.loader.exec_module = load_and_enter
        return spec


@functools.cache
def round_otherwise(seed: int) -> None:
    """Imitate another processor from now on, or from when torch is imported.

    Asked for again, by the tests' own start in a process that began with it, it does no more:
    moved twice, a result would be off by two units.
    """
    if "torch" in sys.modules:
        imitate(seed).__enter__()
    else:
        sys.meta_path.insert(0, _WhenTorchIsImported(seed))
