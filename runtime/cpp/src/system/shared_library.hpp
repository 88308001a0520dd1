// Libraries that are loaded at run time, and what NVIDIA's are called on each system.
#pragma once

#include <stdexcept>
#include <string>

namespace hcflow {

/// A library that stays loaded until the process ends: GPU libraries have threads of their own.
class SharedLibrary {
  public:
    /// Thrown with the system's reason.
    struct NotLoaded : std::runtime_error {
        using std::runtime_error::runtime_error;
    };

    /// Loads a library by its file name from where the system looks for libraries; on Windows never
    /// from the current folder. Throws NotLoaded.
    explicit SharedLibrary(const std::string& file);

    /// The address of a function; null: the library has none of this name.
    [[nodiscard]] void* symbol(const char* name) const;

  private:
    void* handle_;
};

/// "libcuda.so.1" or "nvcuda.dll"
std::string cuda_driver_file();
/// "libnvinfer.so.10" or "nvinfer_10.dll"
std::string tensorrt_file(int major);
/// "libtensorrt_rtx.so.1" or "tensorrt_rtx_1_7.dll"
std::string tensorrt_rtx_file(int major, int minor);
/// The environment variable with the folders of libraries.
const char* library_folders();

}  // namespace hcflow
