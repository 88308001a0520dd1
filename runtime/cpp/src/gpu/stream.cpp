#include "gpu/stream.hpp"

#include <algorithm>
#include <cstring>

#include "core/error.hpp"

namespace hcflow::gpu {

Shapes shapes_of(const std::vector<Feed>& feeds) {
    Shapes shapes;
    for (const Feed& feed : feeds) shapes[feed.name] = feed.shape;
    return shapes;
}

EngineStream::EngineStream(Engine& engine, std::function<std::size_t(const Shapes&)> profile)
    : engine_(engine), profile_(std::move(profile)), last_(stream_.handle()) {}

EngineStream::~EngineStream() {
    try {
        synchronise();
    } catch (const Error&) {  // the GPU cannot be used any more, and its memory is lost
    }
}

std::vector<Tensor> EngineStream::run(const std::vector<Feed>& feeds) {
    Plan& plan = this->plan(shapes_of(feeds));
    try {
        if (plan.host.empty()) allocate_buffers(plan);
        wait_for_last_run(stream_.handle());
        for (const Feed& feed : feeds)
            std::memcpy(plan.host.at(feed.name).values(), feed.values,
                        plan.host.at(feed.name).bytes());
        if (!plan.graph && plan.runs == 1 && plan.capturable) capture(plan);
        if (plan.graph)
            plan.graph->launch(stream_.handle());
        else
            submit(plan);
        idle_.record(stream_.handle());
        stream_.synchronise();
    } catch (...) {
        // Copies from and to its buffers may still be running.
        try {
            synchronise();
        } catch (const Error&) {  // the first error is the useful one
        }
        plans_.pop_front();
        throw;
    }
    if (++plan.runs == 1) engine_.keep_runtime_cache();
    std::vector<Tensor> outputs;
    for (const auto& [name, shape] : plan.outputs) {
        const float* values = plan.host.at(name).values();
        outputs.push_back(Tensor::own(name, shape, {values, values + elements(shape)}));
    }
    return outputs;
}

Shapes EngineStream::output_shapes(const Shapes& inputs) { return plan(inputs).outputs; }

void EngineStream::enqueue(const Shapes& inputs, const Addresses& addresses, Handle stream) {
    Plan& plan = this->plan(inputs);
    wait_for_last_run(stream);
    execute(plan, addresses, stream);
    idle_.record(stream);
}

/// Makes a stream wait on the GPU for the last run, which may use the same scratch memory.
void EngineStream::wait_for_last_run(Handle stream) {
    if (stream == last_) return;
    idle_.make_wait(stream);
    last_ = stream;
}

/// Waits on the host for every run.
void EngineStream::synchronise() const {
    idle_.synchronise();
    stream_.synchronise();
}

EngineStream::Plan& EngineStream::plan(const Shapes& inputs) {
    const auto found = std::find_if(plans_.begin(), plans_.end(),
                                    [&](const Plan& plan) { return plan.inputs == inputs; });
    if (found != plans_.end()) {
        plans_.splice(plans_.begin(), plans_, found);
        return plans_.front();
    }
    if (plans_.size() >= kMostShapes) {
        synchronise();
        plans_.pop_back();
    }
    plans_.push_front(prepare(inputs));
    return plans_.front();
}

/// Creates a context with shapes and scratch memory set.
EngineStream::Plan EngineStream::prepare(const Shapes& inputs) {
    const std::size_t profile = profile_(inputs);
    Plan plan;
    plan.inputs = inputs;
    plan.context = engine_.context();
    if (profile != 0) {
        plan.context->select_profile(profile, stream_.handle());
        stream_.synchronise();
    }
    for (const auto& [name, shape] : inputs) plan.context->set_input_shape(name, shape);
    for (const std::string& name : engine_.outputs())
        plan.outputs[name] = plan.context->output_shape(name);
    give_scratch(plan);
    return plan;
}

void EngineStream::give_scratch(Plan& plan) {
    const std::size_t size = plan.context->scratch_size();
    if (!scratch_ || scratch_->size() < size) {
        synchronise();
        for (Plan& each : plans_) each.graph.reset();  // captured with the old address
        scratch_.reset();
        try {
            scratch_.emplace(size);
        } catch (...) {
            plans_.clear();  // their contexts refer to freed memory
            throw;
        }
        for (Plan& each : plans_) each.context->set_scratch(scratch_->address(), scratch_->size());
    }
    plan.context->set_scratch(scratch_->address(), scratch_->size());
}

/// Allocates device and host buffers for every input and output.
void EngineStream::allocate_buffers(Plan& plan) {
    for (const Shapes* shapes : {&plan.inputs, &plan.outputs})
        for (const auto& [name, shape] : *shapes) {
            plan.device.emplace(name, elements(shape) * sizeof(float));
            plan.host.emplace(name, elements(shape));
        }
}

/// Captures the run as a graph; without one if that fails.
void EngineStream::capture(Plan& plan) {
    try {
        plan.graph.emplace(stream_.capture([&] { submit(plan); }));
    } catch (const Error&) {
        plan.capturable = false;
    }
}

void EngineStream::submit(Plan& plan) {
    Addresses addresses;
    for (const auto& [name, buffer] : plan.device) addresses[name] = buffer.address();
    for (const auto& [name, shape] : plan.inputs)
        stream_.upload(addresses[name], plan.host.at(name));
    execute(plan, addresses, stream_.handle());
    for (const auto& [name, shape] : plan.outputs)
        stream_.download(plan.host.at(name), addresses[name]);
}

void EngineStream::execute(Plan& plan, const Addresses& addresses, Handle stream) {
    for (const auto& [name, address] : addresses) plan.context->set_address(name, address);
    plan.context->enqueue(stream);
}

}  // namespace hcflow::gpu
