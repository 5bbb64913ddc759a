/* What benchmarks/dl4j.py compares the scorer with: DL4J's network called in a loop, nothing else. */
package crayfish;

import org.deeplearning4j.nn.graph.ComputationGraph;
import org.deeplearning4j.nn.modelimport.keras.KerasModelImport;
import org.nd4j.linalg.api.buffer.DataType;
import org.nd4j.linalg.api.ndarray.INDArray;
import org.nd4j.linalg.factory.Nd4j;

public final class Dl4jLoop {
    private final ComputationGraph network;

    public Dl4jLoop(String model) throws Exception {
        network = KerasModelImport.importKerasModelAndWeights(model, false);
    }

    /** Seconds a call, over `calls` calls with zeros of this shape. */
    public double run(long[] shape, int calls) {
        INDArray values = Nd4j.create(DataType.FLOAT, shape);
        long start = System.nanoTime();
        for (int call = 0; call < calls; call++) {
            network.output(false, values)[0].close();
        }
        return (System.nanoTime() - start) / 1e9 / calls;
    }
}
