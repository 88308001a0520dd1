// Which of a bundle's engines runs on this machine (runtime/bundle/engines/fit.py).
#pragma once

#include <memory>
#include <string>

#include "../session.hpp"
#include "gpu/library.hpp"

namespace hcflow::gpu {

/// Throws Error (backend): the library cannot be loaded.
using LoadLibrary = std::unique_ptr<Library> (*)();

/// Loads the engine of a graph that fits this machine. `name`: of the library.
/// Throws Error (backend): no driver, library or fitting engine; the error says what to do.
std::unique_ptr<Session> open_engine(const OpenRequest& request, const std::string& name,
                                     LoadLibrary load);

/// The precision of the options; of `automatic` the one that the engines decide that fit this
/// machine, or all engines if none is known to fit (automatic_precision.hpp).
Precision precision_of(const Bundle& bundle, const Options& options, const std::string& name,
                       LoadLibrary load);

/// Whether every graph of a precision, not `automatic`, has an engine that fits this machine.
bool has_engines(const Bundle& bundle, const Options& options, const std::string& name,
                 LoadLibrary load);

}  // namespace hcflow::gpu
