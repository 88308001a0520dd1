// OpenVINO on the CPU, with the settings of runtime/backends/openvino.py.
#include <algorithm>
#include <filesystem>
#include <map>
#include <mutex>
#include <openvino/openvino.hpp>
#include <vector>

#include "bundle/json_reader.hpp"
#include "bundle/onnx_outline.hpp"
#include "core/error.hpp"
#include "session.hpp"
#include "system/file_trust.hpp"

namespace hcflow {
namespace {

/// One per process, as its plugins are slow to load and models share its threads.
ov::Core& core() {
    static ov::Core instance;
    return instance;
}

/// A compiled model and its idle infer requests. Every running thread uses one of its own.
class Program {
  public:
    /// `outputs`: names of the graph's outputs.
    Program(ov::CompiledModel model, const std::vector<std::string>& outputs)
        : model_(std::move(model)) {
        for (const auto& output : model_.outputs()) {
            // An output may have a second name, that of a cast that OpenVINO removed.
            const auto& names = output.get_names();
            const auto found =
                std::find_if(outputs.begin(), outputs.end(),
                             [&](const std::string& name) { return names.count(name) != 0; });
            names_.push_back(found == outputs.end() ? output.get_any_name() : *found);
        }
    }

    std::vector<Tensor> run(const std::vector<Feed>& feeds) {
        ov::InferRequest request = take();
        for (const Feed& feed : feeds)
            // The request only reads its inputs; the type has no const.
            request.set_tensor(feed.name, ov::Tensor(ov::element::f32, ov::Shape(feed.shape),
                                                     const_cast<float*>(feed.values)));
        request.infer();
        std::vector<Tensor> outputs;
        for (const std::string& name : names_) {
            const ov::Tensor tensor = request.get_tensor(name);
            const auto* values = tensor.data<const float>();
            outputs.push_back(
                Tensor::own(name, Shape(tensor.get_shape()), {values, values + tensor.get_size()}));
        }
        const std::lock_guard<std::mutex> lock(mutex_);
        idle_.push_back(std::move(request));  // a request that failed is not reused
        return outputs;
    }

  private:
    ov::InferRequest take() {
        {
            const std::lock_guard<std::mutex> lock(mutex_);
            if (!idle_.empty()) {
                ov::InferRequest request = std::move(idle_.back());
                idle_.pop_back();
                return request;
            }
        }
        return model_.create_infer_request();
    }

    ov::CompiledModel model_;
    std::vector<std::string> names_;
    std::mutex mutex_;
    std::vector<ov::InferRequest> idle_;
};

/// A program for inputs of any shape and, if the graph has a grid, one for its windows. They round
/// differently, so the input's shape alone decides which one runs, as in Python.
class OpenVinoSession : public Session {
  public:
    explicit OpenVinoSession(const OpenRequest& request)
        : file_(request.graph.file),
          outputs_(output_names(request)),
          windows_(window_shapes(request)) {
        const Graph& graph = request.graph;
        std::string onnx = request.bundle.read_graph(graph);
        check_onnx_outline(onnx, graph.file);
        settings_ = {
            // By default OpenVINO uses bf16 on processors that have it, which breaks parity.
            ov::hint::inference_precision(precision(graph.openvino_precision_hint)),
            ov::hint::performance_mode(ov::hint::PerformanceMode::LATENCY),
            ov::inference_num_threads(request.threads),
            ov::num_streams(1),
            ov::hint::enable_cpu_pinning(false),  // several processes may share the processors
        };
        const std::filesystem::path cache = std::filesystem::u8path(request.cache) / "openvino";
        if (!request.cache.empty() && ensure_private_folder(cache) && holds_only_files(cache))
            settings_.insert(ov::cache_dir(cache.u8string()));
        // Given as bytes, a cached program is found without parsing the graph.
        any_ = compiled([&] { return core().compile_model(onnx, ov::Tensor(), "CPU", settings_); });
        if (!windows_.empty()) onnx_ = std::move(onnx);
    }

    std::vector<Tensor> run(const std::vector<Feed>& feeds) override {
        Program& program = is_window(feeds) ? window_program() : *any_;
        try {
            return program.run(feeds);
        } catch (const std::exception& error) {
            throw_error(ErrorCode::backend, "OpenVINO failed: ", error.what());
        }
    }

  private:
    static ov::element::Type precision(const std::string& hint) {
        if (hint == "f32") return ov::element::f32;
        if (hint == "bf16") return ov::element::bf16;
        if (hint == "f16") return ov::element::f16;
        throw_error(ErrorCode::backend, "OpenVINO has no inference precision '", printable(hint),
                    "': one of f32, bf16, f16; build the bundle again");
    }

    static std::vector<std::string> output_names(const OpenRequest& request) {
        if (request.graph.direction == Direction::inverse) return {"hr"};
        std::vector<std::string> names = {"lr"};
        for (std::size_t i = 0; i < request.bundle.manifest().levels.size(); ++i)
            names.push_back(latent_name(i));
        return names;
    }

    /// The inputs' shapes for a window of the graph's grid; empty if it has none.
    static std::map<std::string, Shape> window_shapes(const OpenRequest& request) {
        const Graph& graph = request.graph;
        if (graph.tile.value_or(0) == 0) return {};
        const std::size_t side = *graph.tile + 2 * graph.overlap.value_or(0);
        const Manifest& manifest = request.bundle.manifest();
        const std::size_t hr = side * manifest.scale;
        if (graph.direction == Direction::forward) return {{"hr", {1, 3, hr, hr}}};
        std::map<std::string, Shape> shapes = {{"lr", {1, 3, side, side}}};
        if (graph.latents)
            for (std::size_t i = 0; i < manifest.levels.size(); ++i)
                shapes[latent_name(i)] = manifest.levels[i].shape(side, side);
        return shapes;
    }

    [[nodiscard]] bool is_window(const std::vector<Feed>& feeds) const {
        if (windows_.size() != feeds.size()) return false;
        return std::all_of(feeds.begin(), feeds.end(), [&](const Feed& feed) {
            const auto found = windows_.find(feed.name);
            return found != windows_.end() && found->second == feed.shape;
        });
    }

    Program& window_program() {
        const std::lock_guard<std::mutex> lock(compiling_);
        if (!fixed_)
            fixed_ = compiled([&] {
                const std::shared_ptr<ov::Model> model = core().read_model(onnx_, ov::Tensor());
                std::map<std::string, ov::PartialShape> shapes;
                for (const auto& [name, shape] : windows_) shapes[name] = ov::Shape(shape);
                model->reshape(shapes);
                return core().compile_model(model, "CPU", settings_);
            });
        return *fixed_;
    }

    template <typename Compile>
    [[nodiscard]] std::unique_ptr<Program> compiled(const Compile& compile) const {
        try {
            return std::make_unique<Program>(compile(), outputs_);
        } catch (const std::exception& error) {
            throw_error(ErrorCode::backend, "OpenVINO refuses '", file_, "': ", error.what());
        }
    }

    std::string file_;
    std::vector<std::string> outputs_;
    std::map<std::string, Shape> windows_;
    ov::AnyMap settings_;
    std::string onnx_;  // kept to compile the windows' program
    std::unique_ptr<Program> any_, fixed_;
    std::mutex compiling_;
};

}  // namespace

std::unique_ptr<Session> open_openvino(const OpenRequest& request) {
    return std::make_unique<OpenVinoSession>(request);
}

}  // namespace hcflow
