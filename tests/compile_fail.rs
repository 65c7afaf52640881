//! What must not compile: transitions that a state does not have, and proofs made by hand. Each file
//! of `tests/compile_fail` is one forbidden program, with the compiler's answer beside it.

#[test]
fn r7_r8_r16_r20_r21_r36_forbidden_transitions_and_handmade_proofs_do_not_compile() {
    trybuild::TestCases::new().compile_fail("tests/compile_fail/*.rs");
}
