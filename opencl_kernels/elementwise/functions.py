"""ONNX's elementwise ops on floats as OpenCL C writes them, over operands {0} and {1}.

Max, Min and Relu hand NaN on, as ONNX demands; fmax and fmin would swallow it, so that
`larger` and `smaller` stand in elementwise.cl.
"""

SCALAR_OPS: dict[str, str] = {
    "Add": "({0} + {1})",
    "Sub": "({0} - {1})",
    "Mul": "({0} * {1})",
    "Div": "({0} / {1})",
    "Pow": "pow({0}, {1})",
    "Max": "larger({0}, {1})",
    "Min": "smaller({0}, {1})",
    "Neg": "(-{0})",
    "Abs": "fabs({0})",
    "Exp": "exp({0})",
    "Log": "log({0})",
    "Sqrt": "sqrt({0})",
    "Reciprocal": "(1.0f / {0})",
    "Sigmoid": "(1.0f / (1.0f + exp(-{0})))",
    "Tanh": "tanh({0})",
    "Relu": "larger({0}, 0.0f)",
    "Erf": "erf({0})",
    "Identity": "{0}",
}
