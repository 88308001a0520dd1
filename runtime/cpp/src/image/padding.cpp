#include "image/padding.hpp"

#include <algorithm>

#include "core/error.hpp"

namespace hcflow {

std::vector<std::size_t> reflected_indices(std::size_t start, std::size_t stop, std::size_t size) {
    std::vector<std::size_t> indices;
    indices.reserve(stop - start);
    const std::size_t period = size > 1 ? 2 * (size - 1) : 1;
    for (std::size_t i = start; i < stop; ++i) {
        const std::size_t within = i % period;
        indices.push_back(within < size ? within : period - within);
    }
    return indices;
}

std::vector<std::size_t> source_indices(std::int64_t start, std::int64_t stop, std::size_t size,
                                        std::size_t multiple) {
    const std::size_t padded = (size + multiple - 1) / multiple * multiple;
    const std::vector<std::size_t> axis = reflected_indices(0, padded, size);
    const auto period = static_cast<std::int64_t>(std::max<std::size_t>(2 * padded, 1));
    std::vector<std::size_t> indices;
    indices.reserve(static_cast<std::size_t>(stop - start));
    for (std::int64_t i = start; i < stop; ++i) {
        const auto within = static_cast<std::size_t>((i % period + period) % period);
        indices.push_back(axis[within < padded ? within : 2 * padded - 1 - within]);
    }
    return indices;
}

Size target_size(Size lr, std::size_t scale, const std::optional<Size>& wanted) {
    const Size full{scale * lr.width, scale * lr.height};
    if (!wanted) return full;
    const auto belongs = [&](std::size_t given, std::size_t whole) {
        return given <= whole && whole - given < scale;
    };
    if (!belongs(wanted->width, full.width) || !belongs(wanted->height, full.height))
        throw_error(ErrorCode::parameter, "size ", wanted->width, "x", wanted->height,
                    " does not belong to a ", lr.width, "x", lr.height, " image at scale ", scale,
                    ": width from ", full.width - scale + 1, " to ", full.width, ", height from ",
                    full.height - scale + 1, " to ", full.height);
    return *wanted;
}

}  // namespace hcflow
