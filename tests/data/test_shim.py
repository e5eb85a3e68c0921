"""The C functions of the shim are written twice, in C++ and in Rust, and no compiler compares the two: this does."""

import re
import unittest

from support import DATA

SHIM = DATA.parent / "src/shim"
# Of C++ as in Rust.
TYPES = {"void": "c_void", "char": "c_char", "int": "c_int", "uint8_t": "u8", "int32_t": "i32", "int64_t": "i64",
         "uint64_t": "u64", "float": "f32", "double": "f64", "bool": "bool", "at::Tensor": "C_tensor", "Tensor": "C_tensor",
         "seqloom::Split": "SplitInC", "Part": "PartInC"}
# Result, name, parameters.
FUNCTION_IN_C = re.compile(r'^(?:extern "C" )?((?:const )?\w+\**) ?(seqloom_\w+)\(([^)]*)\)', re.MULTILINE)
# Name, result, parameters, as of the others of C.
POINTER_IN_C = re.compile(r"^using (\w+) = (\w+) \(\*\)\(([^)]*)\);", re.MULTILINE)
# Name, parameters, result.
FUNCTION_IN_RUST = re.compile(r"\bfn (seqloom_\w+)\(([^)]*)\)(?: -> ([^;]+))?;")
POINTER_IN_RUST = re.compile(r'^type (\w+) = (?:unsafe )?extern "C" fn\(([^)]*)\)(?: -> ([^;]+))?;', re.MULTILINE)


def type_in_c(text: str) -> tuple:
    """A type of C++: what Rust calls it, how many pointers lead to it, and whether the outer one does to a constant."""
    base, *pointers = text.replace(" *", "*").split("*")
    # `T* const*` points to constant pointers, and `const T*` to a constant T.
    before = pointers[-2] if len(pointers) > 1 else base
    is_constant = bool(pointers) and "const" in before.split()
    return TYPES[base.replace("const", "").strip()], len(pointers), is_constant


def type_in_rust(text: str) -> tuple:
    """The same of a type of Rust."""
    *pointers, base = text.split()
    return base, len(pointers), bool(pointers) and pointers[0] == "*const"


def functions_in_c(code: str) -> dict:
    """Each function, and each type of one, with its result and its parameters (name, type)."""
    code, found = re.sub(r"//[^\n]*", "", code), {}
    pointers = [(result, TYPES.get(f"seqloom::{name}") or TYPES[name], parameters)
                for name, result, parameters in POINTER_IN_C.findall(code)]
    for result, name, parameters in FUNCTION_IN_C.findall(code) + pointers:
        pairs = [re.fullmatch(r"(.*?)(\w+)", one.strip(), re.DOTALL).groups() for one in parameters.split(",") if one.strip()]
        typed = [(of, type_in_c(" ".join(kind.split()))) for kind, of in pairs]
        found[name] = (None if result == "void" else type_in_c(result), typed)
    return found


def functions_in_rust(code: str) -> dict:
    """The same of Rust."""
    code, found = re.sub(r"//[^\n]*", "", code), {}
    blocks = re.findall(r'^unsafe extern "C" \{(.*?)^\}', code, re.DOTALL | re.MULTILINE)
    for name, parameters, result in FUNCTION_IN_RUST.findall("".join(blocks)) + POINTER_IN_RUST.findall(code):
        pairs = [one.split(":", 1) for one in parameters.split(",") if one.strip()]
        typed = [(of.strip(), type_in_rust(kind.strip())) for of, kind in pairs]
        found[name] = (type_in_rust(result.strip()) if result else None, typed)
    return found


class Shim(unittest.TestCase):
    """C++ and Rust agree about the functions between them."""

    def test_each_function_has_the_same_names_and_types_on_both_sides(self):
        def read(paths):
            return "\n".join(path.read_text(encoding="utf-8") for path in paths)

        of_c = functions_in_c(read(sorted([*SHIM.glob("*.cpp"), SHIM / "shim.h"])))
        of_rust = functions_in_rust(read(sorted([*SHIM.glob("*.rs"), SHIM.parent / "shim.rs"])))
        self.assertIn("SplitInC", of_c)
        self.assertGreater(len(of_c), 20)
        self.assertEqual(sorted(of_c), sorted(of_rust))
        for name, signature in of_c.items():
            self.assertEqual(signature, of_rust[name], name)

    def test_a_difference_in_type_order_or_result_is_one(self):
        rust = """unsafe extern "C" {
            fn seqloom_f(out: *mut *mut C_tensor, x: *const C_tensor, all: *const *const C_tensor, n: i64, p: f64) -> c_int;
            fn seqloom_g(text: *const c_char);
        }
        """
        code = """extern "C" int seqloom_f(at::Tensor** out, const at::Tensor* x, Tensor* const* all, int64_t n,
            double p) {}
        void seqloom_g(const char* text) {}
        """
        same = functions_in_rust(re.sub("(?m)^ {8}", "", rust))
        self.assertEqual(functions_in_c(re.sub("(?m)^ {8}", "", code)), same)
        for old, new in [("int64_t n", "int n"), ("const char*", "char*"), ("const at::Tensor* x", "at::Tensor* x"),
                         ("Tensor* const* all", "Tensor** all"), ("void seqloom_g", "int seqloom_g"), ("double p", "double q")]:
            changed = functions_in_c(re.sub("(?m)^ {8}", "", code.replace(old, new)))
            self.assertNotEqual(changed, same, new)


if __name__ == "__main__":
    unittest.main()
