// When allocations fail, no exception leaves the C interface: hcflow_backends() returns "".
//
//     hcflow-out-of-memory
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>

#include "hcflow/hcflow.h"

namespace {

bool is_short = false;

int failed(const char* what) {
    std::fprintf(stderr, "hcflow-out-of-memory: %s\n", what);
    return 1;
}

}  // namespace

void* operator new(std::size_t size) {
    void* memory = is_short ? nullptr : std::malloc(size);
    if (memory == nullptr) throw std::bad_alloc();
    return memory;
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }

int main() try {
    is_short = true;
    const char* none = hcflow_backends();
    is_short = false;
    if (*none != '\0') return failed("backends are listed without memory for the list");
    if (std::strstr(hcflow_last_error(), "out of memory") == nullptr)
        return failed("the last error does not say that memory is short");
    if (std::strstr(hcflow_backends(), "null") == nullptr)
        return failed("once there is memory, no backends are listed");
    return 0;
} catch (...) {
    return failed("an exception crossed the C interface");
}
