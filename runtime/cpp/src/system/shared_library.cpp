#include "system/shared_library.hpp"

#include "core/error.hpp"

#ifdef _WIN32
#include <windows.h>

#include <cstdlib>
#include <filesystem>
#include <sstream>
#include <system_error>
#else
#include <dlfcn.h>
#endif

namespace hcflow {

#ifdef _WIN32

namespace {

/// Loads from the program's folder, the system's, and the absolute folders of PATH. LoadLibrary
/// alone would also look in the current folder, where anybody may have put a file.
HMODULE load(const std::wstring& file) {
    HMODULE found = LoadLibraryExW(file.c_str(), nullptr, LOAD_LIBRARY_SEARCH_DEFAULT_DIRS);
    const wchar_t* folders = _wgetenv(L"PATH");
    std::wistringstream path(folders != nullptr ? folders : L"");
    for (std::wstring folder; found == nullptr && std::getline(path, folder, L';');) {
        const std::filesystem::path whole = std::filesystem::path(folder) / file;
        std::error_code error;
        if (whole.is_absolute() && std::filesystem::exists(whole, error))
            found =
                LoadLibraryExW(whole.c_str(), nullptr,
                               LOAD_LIBRARY_SEARCH_DLL_LOAD_DIR | LOAD_LIBRARY_SEARCH_DEFAULT_DIRS);
    }
    return found;
}

}  // namespace

SharedLibrary::SharedLibrary(const std::string& file)
    : handle_(load(std::filesystem::u8path(file).wstring())) {
    if (handle_ == nullptr)
        throw NotLoaded(std::system_category().message(static_cast<int>(GetLastError())));
}

void* SharedLibrary::symbol(const char* name) const {
    return reinterpret_cast<void*>(GetProcAddress(static_cast<HMODULE>(handle_), name));
}

std::string cuda_driver_file() { return "nvcuda.dll"; }
std::string tensorrt_file(int major) { return concat("nvinfer_", major, ".dll"); }
std::string tensorrt_rtx_file(int major, int minor) {
    return concat("tensorrt_rtx_", major, "_", minor, ".dll");
}
const char* library_folders() { return "PATH"; }

#else

SharedLibrary::SharedLibrary(const std::string& file) : handle_(dlopen(file.c_str(), RTLD_NOW)) {
    if (handle_ == nullptr) throw NotLoaded(dlerror());
}

void* SharedLibrary::symbol(const char* name) const { return dlsym(handle_, name); }

std::string cuda_driver_file() { return "libcuda.so.1"; }
std::string tensorrt_file(int major) { return concat("libnvinfer.so.", major); }
std::string tensorrt_rtx_file(int major, int) { return concat("libtensorrt_rtx.so.", major); }
const char* library_folders() { return "LD_LIBRARY_PATH"; }

#endif

}  // namespace hcflow
