#include "gpu/stream.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

#include "core/error.hpp"

namespace hcflow::gpu {

Shapes shapes_of(const std::vector<Feed>& feeds) {
    Shapes shapes;
    for (const Feed& feed : feeds) shapes[feed.name] = feed.shape;
    return shapes;
}

EngineStream::EngineStream(Engine& engine, std::function<std::size_t(const Shapes&)> profile)
    : engine_(engine), profile_(std::move(profile)) {}

EngineStream::~EngineStream() {
    try {
        synchronise();
    } catch (const Error&) {  // the GPU cannot be used any more, and its memory is lost
    }
}

/// What `work` returns; where memory is short, without what other shapes keep.
template <typename Work>
auto EngineStream::with_memory(const Work& work) -> decltype(work()) {
    const bool keeps_memory = !plans_.empty() || scratch_;
    try {
        return work();
    } catch (const OutOfGpuMemory&) {
        if (!keeps_memory) throw;
        clear();
        return work();
    }
}

void EngineStream::reserve(const Shapes& inputs) { (void)ready(inputs); }

std::vector<Tensor> EngineStream::run(const std::vector<Feed>& feeds) {
    Plan& plan = ready(shapes_of(feeds));
    try {
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
    ++plan.runs;
    note_run(plan);
    std::vector<Tensor> outputs;
    for (const auto& [name, shape] : plan.outputs) {
        const float* values = plan.host.at(name).values();
        outputs.push_back(Tensor::own(name, shape, {values, values + elements(shape)}));
    }
    return outputs;
}

Shapes EngineStream::output_shapes(const Shapes& inputs) {
    return with_memory([&] { return plan(inputs).outputs; });
}

void EngineStream::enqueue(const Shapes& inputs, const Addresses& addresses, Handle stream) {
    Addresses aligned;
    Plan& plan = with_memory([&]() -> Plan& {
        Plan& found = this->plan(inputs);
        aligned = addresses;
        for (auto& [name, address] : aligned)
            if (address % kAlignment != 0) address = device_buffer(found, name).address();
        return found;
    });
    const auto copy = [&](const Shapes& tensors, const Addresses& from, const Addresses& to) {
        for (const auto& [name, shape] : tensors)
            if (from.at(name) != to.at(name))
                Stream::copy(stream, to.at(name), from.at(name), elements(shape) * sizeof(float));
    };
    wait_for_last_run(stream);
    try {
        copy(plan.inputs, addresses, aligned);
        execute(plan, aligned, stream);
        copy(plan.outputs, aligned, addresses);
    } catch (...) {
        idle_.record(stream);  // what is in the stream already uses this memory
        throw;
    }
    idle_.record(stream);
    note_run(plan);
}

/// Makes a stream wait on the GPU for the last run, which may use the same scratch memory. Whether
/// it is the same stream cannot be told: a destroyed stream's handle returns, and handle 2 is each
/// thread's own stream.
void EngineStream::wait_for_last_run(Handle stream) const { idle_.make_wait(stream); }

/// A context's first run may have compiled kernels, which are then saved.
void EngineStream::note_run(Plan& plan) {
    if (plan.has_run) return;
    plan.has_run = true;
    engine_.keep_runtime_cache();
}

/// Waits on the host for every run.
void EngineStream::synchronise() {
    idle_.synchronise();
    stream_.synchronise();
    replaced_.clear();
}

void EngineStream::clear() {
    synchronise();
    plans_.clear();
    scratch_.reset();
}

/// Context, scratch memory and buffers for a run on host values.
EngineStream::Plan& EngineStream::ready(const Shapes& inputs) {
    return with_memory([&]() -> Plan& { return staged(inputs); });
}

EngineStream::Plan& EngineStream::staged(const Shapes& inputs) {
    Plan& plan = this->plan(inputs);
    if (plan.host.size() < plan.inputs.size() + plan.outputs.size()) allocate_buffers(plan);
    return plan;
}

EngineStream::Plan& EngineStream::plan(const Shapes& inputs) {
    const auto found = std::find_if(plans_.begin(), plans_.end(),
                                    [&](const Plan& plan) { return plan.inputs == inputs; });
    if (found != plans_.end()) {
        plans_.splice(plans_.begin(), plans_, found);
        Plan& plan = plans_.front();
        if (engine_.compiles_at_run_time() && plan.has_run && !plan.eager) {
            // The shape came back, so that kernels for it pay; a captured graph needs them.
            std::unique_ptr<Context> eager = prepare(inputs, true);
            replaced_.push_back(std::exchange(plan.context, std::move(eager)));
            plan.eager = true;
            plan.has_run = false;
            plan.runs = 0;
        }
        return plan;
    }
    if (plans_.size() >= kMostShapes) {
        synchronise();
        plans_.pop_back();
    }
    Plan plan;
    plan.inputs = inputs;
    plan.context = prepare(inputs, false);
    for (const std::string& name : engine_.outputs())
        plan.outputs[name] = plan.context->output_shape(name);
    plans_.push_front(std::move(plan));
    return plans_.front();
}

/// Creates a context with shapes and scratch memory set.
std::unique_ptr<Context> EngineStream::prepare(const Shapes& inputs, bool eager) {
    const std::size_t profile = profile_(inputs);
    std::unique_ptr<Context> context = engine_.context(eager);
    if (profile != 0) {
        context->select_profile(profile, stream_.handle());
        stream_.synchronise();
    }
    for (const auto& [name, shape] : inputs) context->set_input_shape(name, shape);
    give_scratch(*context);
    return context;
}

void EngineStream::give_scratch(Context& context) {
    const std::size_t size = context.scratch_size();
    if (!scratch_ || scratch_->size() < size) {
        synchronise();
        for (Plan& each : plans_) {
            each.graph.reset();  // captured with the old address
            each.runs = 0;       // the engine prepares itself for the new one in a plain run
        }
        scratch_.reset();
        try {
            scratch_.emplace(size);
        } catch (...) {
            plans_.clear();  // their contexts refer to freed memory
            throw;
        }
        for (Plan& each : plans_) each.context->set_scratch(scratch_->address(), scratch_->size());
    }
    context.set_scratch(scratch_->address(), scratch_->size());
}

/// Allocates device and host buffers for every input and output.
void EngineStream::allocate_buffers(Plan& plan) {
    for (const Shapes* shapes : {&plan.inputs, &plan.outputs})
        for (const auto& [name, shape] : *shapes) {
            (void)device_buffer(plan, name);
            plan.host.try_emplace(name, elements(shape));
        }
}

DeviceBuffer& EngineStream::device_buffer(Plan& plan, const std::string& name) {
    const auto input = plan.inputs.find(name);
    const Shape& shape = input != plan.inputs.end() ? input->second : plan.outputs.at(name);
    return plan.device.try_emplace(name, elements(shape) * sizeof(float)).first->second;
}

/// Captures the run as a graph; without one if that fails.
void EngineStream::capture(Plan& plan) {
    try {
        if (plan.context->may_be_captured(stream_.handle()))
            plan.graph.emplace(stream_.capture([&] { submit(plan); }));
    } catch (const Error&) {  // something in it cannot be captured
    }
    plan.capturable = plan.graph.has_value();
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
