package penstock;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import software.amazon.awssdk.core.interceptor.Context;
import software.amazon.awssdk.core.interceptor.ExecutionAttributes;
import software.amazon.awssdk.core.interceptor.ExecutionInterceptor;
import software.amazon.awssdk.core.interceptor.SdkExecutionAttribute;

/** Counts what an application asks of Kinesis, and keeps what it was refused. */
final class Calls implements ExecutionInterceptor {
    private final Map<String, Integer> begun = new TreeMap<>();
    private final List<String> failed = new ArrayList<>();

    @Override
    public synchronized void beforeTransmission(Context.BeforeTransmission context, ExecutionAttributes attributes) {
        begun.merge(attributes.getAttribute(SdkExecutionAttribute.OPERATION_NAME), 1, Integer::sum);
    }

    @Override
    public synchronized void onExecutionFailure(Context.FailedExecution context, ExecutionAttributes attributes) {
        failed.add(attributes.getAttribute(SdkExecutionAttribute.OPERATION_NAME) + ": " + context.exception());
    }

    synchronized int count(String operation) {
        return begun.getOrDefault(operation, 0);
    }

    synchronized List<String> failed() {
        return new ArrayList<>(failed);
    }

    @Override
    public synchronized String toString() {
        return begun.toString();
    }
}
