#include "bundle/onnx_outline.hpp"

#include <cstdint>
#include <optional>

#include "core/error.hpp"

namespace hcflow {
namespace {

// Numbers of fields in onnx.proto.
namespace model {
constexpr std::uint64_t kGraph = 7, kFunctions = 25;
}
namespace graph {
constexpr std::uint64_t kNode = 1;
}
namespace node {
constexpr std::uint64_t kAttribute = 5;
}
namespace attribute {
constexpr std::uint64_t kGraph = 6, kGraphs = 11;
}

/// A part of the file: a message of protobuf.
struct Message {
    const char* at;
    const char* end;
};

/// A number of protobuf, 7 bits a byte; moves `message` behind it. None: it does not end.
std::optional<std::uint64_t> varint(Message& message) {
    std::uint64_t value = 0;
    for (unsigned shift = 0; shift < 64 && message.at != message.end; shift += 7) {
        const auto byte = static_cast<unsigned char>(*message.at++);
        value |= std::uint64_t{byte & 0x7FU} << shift;
        if (byte < 0x80) return value;
    }
    return std::nullopt;
}

/// Calls `visit(field, part)` for every part of a message that is a message or text itself.
/// Returns false if the message is damaged.
template <typename Visit>
bool each_part(Message message, const Visit& visit) {
    enum : unsigned { kNumber = 0, kEightBytes = 1, kPart = 2, kFourBytes = 5 };
    while (message.at != message.end) {
        const auto key = varint(message);
        // Readers of protobuf cut a key to 32 bits: one that is longer could pass as another field.
        if (!key || *key > UINT32_MAX) return false;
        const auto kind = static_cast<unsigned>(*key & 7U);
        std::optional<std::uint64_t> size;
        if (kind == kNumber && varint(message)) size = 0;
        if (kind == kEightBytes) size = 8;
        if (kind == kFourBytes) size = 4;
        if (kind == kPart) size = varint(message);
        if (!size || *size > static_cast<std::uint64_t>(message.end - message.at)) return false;
        const Message part{message.at, message.at + *size};
        message.at = part.end;
        if (kind == kPart && !visit(*key >> 3U, part)) return false;
    }
    return true;
}

}  // namespace

void check_onnx_outline(const std::string& onnx, const std::string& file) {
    const auto refuse = [&](const char* what) {
        throw_error(ErrorCode::bundle, "'", file, "' ", what, ": refused; build the bundle again");
    };
    const auto in_attribute = [&](std::uint64_t field, Message) {
        if (field == attribute::kGraph || field == attribute::kGraphs)
            refuse("has control flow, which may never end");
        return true;
    };
    const auto in_node = [&](std::uint64_t field, Message part) {
        return field != node::kAttribute || each_part(part, in_attribute);
    };
    const auto in_graph = [&](std::uint64_t field, Message part) {
        return field != graph::kNode || each_part(part, in_node);
    };
    bool any = false;
    const auto in_model = [&](std::uint64_t field, Message part) {
        if (field == model::kFunctions) refuse("has functions of its own");
        any = any || field == model::kGraph;
        return field != model::kGraph || each_part(part, in_graph);
    };
    if (!each_part({onnx.data(), onnx.data() + onnx.size()}, in_model) || !any)
        refuse("is not an ONNX model");
}

}  // namespace hcflow
