// libtorch's wheel has Gloo's code, but not its headers. These name what the header of c10d's process group needs, whose
// members of Gloo's types lie behind pointers. `group.cpp` alone sees them, and makes no object of these types.
#pragma once
