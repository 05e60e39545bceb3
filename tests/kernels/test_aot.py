"""What is read out of listings of machine code."""

import pytest
from aot import Compiled, _wide_loads_in_flight

LOADS = """
        /*0310*/                   LDG.E R13, desc[UR4][R54.64] ;
        /*0320*/              @!P0 LDG.E.128 R16, desc[UR4][R12.64] ;
        /*0330*/               @P3 LDG.E.128 R20, desc[UR4][R12.64+0x200] ;
"""
THIRD = """
        /*0360*/                   LDG.E.128 R24, desc[UR4][R12.64] ;
"""


@pytest.mark.parametrize(
    "between, most",
    (
        ("/*0340*/ FFMA R48, R59.reuse, R4, R48 ;", 3),
        ("/*0340*/ FFMA R48, R59.reuse, R19, R48 ;", 2),
        ("/*0340*/ CS2R R22, SRZ ;", 2),
        ("/*0340*/ CS2R R24, SRZ ;", 3),
        ("/*0340*/ @P1 STG.E.128 desc[UR4][R2.64], R20 ;", 2),
        ("/*0340*/ LDG.E R2, desc[UR4][R22.64] ;", 2),
        ("/*0340*/ @!P1 BRA `(.L_x_1) ;", 3),
        (".L_x_1:", 2),
    ),
    ids=("another", "read", "overwritten", "not overwritten", "stored", "an address", "a branch", "a label"),
)
def test_loads_in_flight(between, most):
    assert _wide_loads_in_flight(LOADS + between + THIRD) == most


def test_loads_by_width():
    code = Compiled(registers=32, local=0, shared=0)
    code.__dict__["listing"] = (
        LOADS
        + """
        /*0330*/                   LDG.E.U16 R3, desc[UR4][R54.64] ;
        /*0340*/                   LDG.E.64.CONSTANT R4, desc[UR4][R54.64] ;
        /*0350*/                   LDGSTS.E.BYPASS.LTC128B.128 [R7], desc[UR4][R2.64] ;
        /*0360*/                   LDS.128 R8, [R7] ;
        /*0370*/                   EXIT ;
.L_x_1:
        /*0380*/                   BRA `(.L_x_1);
        /*0390*/                   NOP;
"""
    )
    assert code.loads == {16: 1, 32: 1, 64: 1, 128: 3}
    assert code.instructions == 9


def test_a_gpu_without_a_listing():
    with pytest.raises(RuntimeError, match="no listing"):
        _ = Compiled(registers=None, local=0, shared=0).loads
