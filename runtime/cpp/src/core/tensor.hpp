// Float32 arrays that go into and come out of a backend.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace hcflow {

using Shape = std::vector<std::size_t>;

inline std::size_t elements(const Shape& shape) {
    std::size_t product = 1;
    for (const std::size_t side : shape) product *= side;
    return product;
}

/// An input of a graph; `values` are contiguous and belong to the caller.
struct Feed {
    std::string name;
    Shape shape;
    const float* values;
};

/// An output of a graph. The values live as long as the tensor does.
struct Tensor {
    std::string name;
    Shape shape;
    std::shared_ptr<const float> values;

    static Tensor own(std::string name, Shape shape, std::vector<float> values) {
        auto kept = std::make_shared<const std::vector<float>>(std::move(values));
        return {std::move(name), std::move(shape), {kept, kept->data()}};
    }
};

}  // namespace hcflow
