// What a graph of a bundle may not have, read from its ONNX file without an ONNX library.
#pragma once

#include <string>

namespace hcflow {

/// Checks that a file is an ONNX model without control flow (Loop, Scan, If: any node that holds a
/// graph) and without functions of its own. Our graphs have none, and a loop may never end.
/// `file` names it in errors. Throws Error (bundle).
void check_onnx_outline(const std::string& onnx, const std::string& file);

}  // namespace hcflow
